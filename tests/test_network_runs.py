"""Runs of networks: killed and resumed, by several processes, beside another model's, and refused."""

import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.command_line import repro, spawn, succeed
from tests.test_interruptions import PATIENCE, wait_for_weights, weight_files

NETWORK = (
    "data=digits", "data.num_train=60", "model=network", "model.hidden=2", "model.l2=0.05", "top_k=20",
    "retrain.batch_size=4", "plot.formats=[png]",
)  # fmt: skip


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's run folder that is ready to be retrained."""
    folder = tmp_path_factory.mktemp("network") / "run"
    succeed("train", *NETWORK, f"output_dir={folder}")
    succeed("influence", "--method", "exact", folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(predicted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, retrained by one process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(predicted, folder)
    succeed("retrain", folder)
    succeed("plot", folder)
    return folder


def test_a_killed_retraining_of_a_network_ends_as_an_undisturbed_one(
    predicted: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(predicted, folder)
    process = spawn("retrain", str(folder))
    wait_for_weights(process, folder)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    before = weight_files(folder)
    assert 0 < len(before) < len(weight_files(undisturbed)), "killed too early or too late to test anything"
    succeed("retrain", folder)
    assert before.items() <= weight_files(folder).items()
    succeed("plot", folder)
    name = "leave_one_out.csv"
    assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


def test_two_processes_retrain_a_network_to_the_same_changes(
    predicted: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(predicted, folder)
    process = spawn("retrain", "--gpus", "2", str(folder))
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.count("21 solved now") == 1
    succeed("plot", folder)
    found, expected = (pd.read_csv(path / "leave_one_out.csv") for path in (folder, undisturbed))
    assert found["train_index"].tolist() == expected["train_index"].tolist()
    assert found["truth"].tolist() == expected["truth"].tolist()
    difference = (found["actual_change"] - expected["actual_change"]).abs()
    assert (difference <= found["certificate"] + expected["certificate"]).all(), difference.max()
    assert found["certificate"].max() < 1e-4 * found["actual_change"].abs().max()
