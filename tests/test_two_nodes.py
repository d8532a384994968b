"""Every command line of several processes that README, docs and help print, run as it is printed.

The lines are read from where they are printed, so text and test cannot differ. They run in a folder with
MNIST's files, but few and small examples in them, because the lines name no data.
"""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from erm.data.download import TEST_FILES, TRAIN_FILES
from tests.command_line import succeed
from tests.idx_files import idx_bytes
from tests.machines import FIRST, NotAllowedError, end_all, start_line, two_machines
from tests.printed_lines import printed_lines

PATIENCE = 300
"""Seconds that a line may take before the test gives up on it."""


def torchrun_lines() -> dict[str, list[str]]:
    """Each line, and where it is printed."""
    found: dict[str, list[str]] = {}
    for printed in printed_lines():
        if printed.line.startswith("torchrun "):
            found.setdefault(printed.line, []).append(printed.where)
    return found


def write_small_mnist(root: Path) -> None:
    """Files of MNIST with 600 training images after the validation images, most of their pixels 0."""
    rng = np.random.default_rng(0)
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    centres = rng.integers(0, 256, (10, 4, 5))
    for (images, labels), count in ((TRAIN_FILES, 5600), (TEST_FILES, 20)):
        classes = rng.integers(0, 10, count)
        pixels = np.zeros((count, 28, 28))
        noise = rng.integers(-60, 60, (count, 4, 5))
        pixels[:, 10:14, 10:15] = (centres[classes] + noise).clip(0, 255)
        (folder / images).write_bytes(idx_bytes(pixels))
        (folder / labels).write_bytes(idx_bytes(classes))


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data and a run that is ready to be retrained."""
    write_small_mnist(tmp_path / "data")
    monkeypatch.delenv("REPRO_DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    succeed("train")
    succeed("influence", "--method", "cg")
    return tmp_path


def test_readme_and_help_print_the_line() -> None:
    (where,) = torchrun_lines().values()
    assert {"README.md", "repro retrain --help"} <= set(where)


def run_on_two_machines(line: str, folder: Path) -> list[str]:
    """The line on two machines, or where this one allows no namespaces at two loopback addresses; stdout."""
    try:
        with two_machines(folder) as machines:
            nodes = [machine.start(line, folder) for machine in machines]
            ended = end_all(nodes, PATIENCE)
    except NotAllowedError:
        here = shlex.split(line.replace(FIRST, "localhost"))
        nodes = [start_line(here, folder, {}) for _ in range(2)]
        ended = end_all(nodes, PATIENCE)
    assert [node.returncode for node in nodes] == [0, 0], ended
    return [out for out, _ in ended]


@pytest.mark.slow
@pytest.mark.parametrize("line", torchrun_lines())
def test_the_line_ends_on_two_machines_where_one_process_does(prepared: Path, line: str) -> None:
    (run,) = (prepared / "outputs").iterdir()
    alone = f"output_dir={shutil.copytree(run, prepared / 'alone')}"
    said = run_on_two_machines(line, prepared)
    # One machine tells what was found, the other where it is.
    assert sum("501 solved now" in out for out in said) == 1
    assert sum("has all models in its run folder: go on there" in out for out in said) == 1
    assert len(list(run.glob("retrain/weights/[!.]*.safetensors"))) == 8
    succeed("plot", "plot.formats=[png]")
    succeed("retrain", alone)
    succeed("plot", "plot.formats=[png]", alone)
    found, expected = (pd.read_csv(folder / "leave_one_out.csv") for folder in (run, prepared / "alone"))
    assert found["train_index"].tolist() == expected["train_index"].tolist()
    difference = (found["actual_change"] - expected["actual_change"]).abs()
    assert (difference <= found["certificate"] + expected["certificate"]).all(), difference.max()
    # The certificates are tight enough for that to mean something.
    assert found["certificate"].max() < 1e-4 < found["actual_change"].abs().max()
