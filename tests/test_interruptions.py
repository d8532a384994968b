"""Signals and kills at any moment: what is finished is kept, and the next run ends as an undisturbed one."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.command_line import spawn, succeed

PATIENCE = 120
RUN = (
    "run", "--method", "cg", "--method", "lissa", "data=digits", "top_k=200",
    "influence.depth=500", "retrain.batch_size=16",
)  # fmt: skip
Tables = dict[tuple[str, ...], dict[str, bytes]]
OPTIONS: tuple[tuple[str, ...], ...] = ((), ("--gpus", "2"))
KILLS = 26
"""For one process and for two, each."""
KILLS_A_RUN = 6


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of runs that nobody disturbed, by options."""
    tables: Tables = {}
    for options in OPTIONS:
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        process = spawn(*RUN, *options, f"output_dir={folder}")
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        tables[options] = read_tables(folder)
    return tables


def read_tables(folder: Path) -> dict[str, bytes]:
    names = ("influence/cg.csv", "influence/lissa.csv", "leave_one_out.csv")
    return {name: (folder / name).read_bytes() for name in names}


def weight_files(folder: Path) -> dict[Path, int]:
    files = (folder / "retrain" / "weights").glob("[!.]*.safetensors")
    return {path: path.stat().st_mtime_ns for path in files}


def descendants(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for_weights(process: "subprocess.Popen[str]", folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not weight_files(folder) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_killed_at_any_moment_it_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: Tables, options: tuple[str, ...]
) -> None:
    moments = random.Random(0)
    kills = solved_twice = 0
    while kills < KILLS:
        folder = tmp_path / f"run {kills}"
        for _ in range(KILLS_A_RUN):
            before = weight_files(folder)
            process = spawn(*RUN, *options, f"output_dir={folder}")
            # From the start of the interpreter to about the end of the run.
            time.sleep(moments.uniform(0.5, 9.0 if options else 6.0))
            ranks = descendants(process)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=PATIENCE)
            kills += 1
            assert_gone(ranks)
            after = weight_files(folder)
            # Nothing that was finished is done again.
            solved_twice += sum(after.get(path) != time_written for path, time_written in before.items())
        process = spawn(*RUN, *options, f"output_dir={folder}")
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert read_tables(folder) == undisturbed[options]
        assert not list(folder.rglob(".unfinished-*"))
        assert not list(folder.rglob("*.set-aside-*"))
        shutil.rmtree(folder)
    assert solved_twice == 0


@pytest.mark.parametrize(
    ("number", "code", "options"),
    [
        (signal.SIGINT, 130, OPTIONS[0]),
        pytest.param(signal.SIGINT, 130, OPTIONS[1], marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, OPTIONS[0], marks=pytest.mark.slow),
        (signal.SIGTERM, 143, OPTIONS[1]),
    ],
)
def test_a_signal_ends_it_with_a_line_and_no_orphans(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    folder = tmp_path / "run"
    overrides = ("data=digits", "top_k=200", f"output_dir={folder}")
    succeed("train", *overrides)
    succeed("influence", "--method", "cg", *overrides)
    process = spawn("retrain", *options, *overrides, "retrain.batch_size=1")
    wait_for_weights(process, folder)
    ranks = descendants(process)
    assert len(ranks) >= (2 if options else 0)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert err.count("the same command goes on from there") == 1
    assert "Traceback" not in err
    assert_gone(ranks)
    kept = weight_files(folder)
    assert kept
    said = succeed("retrain", *overrides)
    # The null control is one of the models.
    assert f"{201 - len(kept)} solved now" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
