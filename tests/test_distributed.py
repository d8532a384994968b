"""Many processes, and processes that are killed, end where one undisturbed process does."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from parallel.collectives import all_gather_object, all_reduce_sum, barrier, broadcast, broadcast_object
from parallel.group import ALONE, Group
from repro.errors import StageError
from repro.stages.retrain import _naming_machine
from tests.command_line import FAST, repro, spawn, succeed

PATIENCE = 120
"""Seconds that a process of its own may take before the test gives up on it."""


@pytest.fixture
def predicted(tmp_path: Path) -> list[str]:
    """Overrides of a run folder that is ready to be retrained."""
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    succeed("train", *overrides)
    succeed("influence", "--method", "cg", *overrides)
    return overrides


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of one process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    succeed("run", "--method", "cg", *FAST, f"output_dir={folder}")
    return pd.read_csv(folder / "leave_one_out.csv")


def assert_same_within_certificates(overrides: list[str], expected: pd.DataFrame) -> None:
    succeed("plot", *overrides)
    found = pd.read_csv(folder_of(overrides) / "leave_one_out.csv")
    assert found["train_index"].tolist() == expected["train_index"].tolist()
    difference = (found["actual_change"] - expected["actual_change"]).abs()
    assert (difference <= found["certificate"] + expected["certificate"]).all(), difference.max()
    # The certificates themselves are tight enough for that to mean something.
    assert found["certificate"].max() < 1e-5 < found["actual_change"].abs().max()


def folder_of(overrides: list[str]) -> Path:
    return Path(overrides[-1].removeprefix("output_dir="))


def weight_files(overrides: list[str]) -> list[Path]:
    return sorted((folder_of(overrides) / "retrain" / "weights").glob("[!.]*.safetensors"))


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_end_where_one_does(
    predicted: list[str], undisturbed: pd.DataFrame, processes: int
) -> None:
    process = spawn("retrain", "--gpus", str(processes), *predicted)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert err.count("no GPU here") == 1
    assert out.count("41 solved now") == 1
    assert len(weight_files(predicted)) == processes
    assert_same_within_certificates(predicted, undisturbed)


@pytest.mark.slow
def test_examples_can_be_shared_out_instead_of_models(
    predicted: list[str], undisturbed: pd.DataFrame
) -> None:
    process = spawn("retrain", "--gpus", "2", *predicted, "retrain.shard=data")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.count("41 solved now") == 1
    assert len(weight_files(predicted)) == 1
    assert_same_within_certificates(predicted, undisturbed)


@pytest.mark.slow
def test_the_explicit_hessian_is_shared_out(predicted: list[str]) -> None:
    alone = tuple(folder_of(predicted).joinpath("influence").iterdir())
    succeed("influence", "--method", "exact", *predicted)
    table = folder_of(predicted) / "influence" / "exact.csv"
    expected = pd.read_csv(table)
    table.unlink()
    process = spawn("influence", "--method", "exact", "--gpus", "2", *predicted)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.count("exact: test point") == 1
    # Sums in another order: rounding, and nothing else.
    found = pd.read_csv(table)
    assert (found["influence"] - expected["influence"]).abs().max() < 1e-11 * expected[
        "influence"
    ].abs().max()
    assert len(alone) + 2 == len(tuple(folder_of(predicted).joinpath("influence").iterdir()))


def run_on_two_nodes(*overrides: list[str]) -> list[tuple[str, str]]:
    """`retrain` under torchrun on two nodes with a rendezvous of their own, each with its overrides."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        endpoint = f"localhost:{free.getsockname()[1]}"
    node = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=7"]
    command = [*node, f"--rdzv-endpoint={endpoint}", "-m", "cli", "retrain"]
    nodes = [spawn(*command, *own, module="torch.distributed.run") for own in overrides]
    ended = [process.communicate(timeout=PATIENCE) for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], ended
    assert sum("41 solved now" in out for out, _ in ended) == 1
    return ended


@pytest.mark.slow
def test_nodes_that_share_no_disk_leave_everything_with_rank_0(
    predicted: list[str], undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    # Which node becomes rank 0 is the rendezvous' choice, so the run folder is there twice.
    shutil.copytree(folder_of(predicted), tmp_path / "other")
    elsewhere = [*predicted[:-1], f"output_dir={tmp_path}/other"]
    run_on_two_nodes(predicted, elsewhere)
    both = sorted([weight_files(predicted), weight_files(elsewhere)], key=len)
    assert [len(files) for files in both] == [1, 2]
    if len(weight_files(predicted)) == 1:
        shutil.rmtree(folder_of(predicted))
        (tmp_path / "other").rename(folder_of(predicted))
    assert_same_within_certificates(predicted, undisturbed)


HANGS = """
import sys, time, torch
from datetime import timedelta
from parallel.collectives import RankTimeoutError, all_reduce_sum
from parallel.group import process_group
with process_group(torch.device("cpu"), timedelta(seconds=2)) as group:
    if group.rank == 1:
        time.sleep(60)
    try:
        all_reduce_sum(torch.ones(1), group)
    except RankTimeoutError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(1)
"""


GROUPS = """
import sys, torch
from datetime import timedelta
from pathlib import Path
from parallel.group import ALONE, process_group
from repro.sharded_curvature import sharded_curvature
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache
from tests.problems import fitted_digits, read_all, solve_missing
risk, fit = fitted_digits(200)
removals = [(3,), (3, 150), tuple(range(40, 140))]
def solved(group, name):
    cache = WeightCache(Path(sys.argv[1]) / name, "key", print)
    solve_missing(risk, fit.theta, removals, cache, RetrainSettings(shard="data"), lambda _: None, group)
    return read_all(cache)
with process_group(torch.device("cpu"), timedelta(seconds=60)) as group:
    assert group.size == 2
    found = solved(group, "shared")
    if group.is_first:
        alone = solved(ALONE, "alone")
        assert found.removals == alone.removals == ((), *removals)
        apart = ((found.differences - alone.differences) ** 2).sum((1, 2)) ** 0.5
        assert (apart <= found.distance_bounds + alone.distance_bounds).all(), apart
        assert found.gradient_norms.max() <= 1e-9
    curvature = risk.curvature(fit.theta)
    together, whole = sharded_curvature(curvature, group).matrix(), curvature.matrix()
    # Sums in another order: rounding, and nothing else.
    assert not torch.equal(together, whole)
    assert (together - whole).abs().max() < 1e-13 * whole.abs().max()
"""


def test_groups_of_rows_and_the_hessian_on_several_ranks_are_those_of_one(tmp_path: Path) -> None:
    """The examples are shared out, so a removal's rows lie on both ranks, or on one alone."""
    script = tmp_path / "groups.py"
    script.write_text(GROUPS)
    command = ["--standalone", "--nproc-per-node=2", str(script), str(tmp_path)]
    process = spawn(*command, module="torch.distributed.run")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err


def test_a_rank_that_hangs_is_named_and_ends_the_run(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    started = time.monotonic()
    command = ["--standalone", "--nproc-per-node=2", str(script)]
    process = spawn(*command, module="torch.distributed.run")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "rank 0 waited 2 s" in err
    assert re.search(r"[Rr]anks? 1\b", err)
    assert time.monotonic() - started < 50


@pytest.mark.parametrize("options", [[], pytest.param(["--gpus", "2"], marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_where_it_was(
    predicted: list[str], undisturbed: pd.DataFrame, options: list[str]
) -> None:
    process = spawn("retrain", *options, *predicted, "retrain.batch_size=1")
    deadline = time.monotonic() + PATIENCE
    while len(weight_files(predicted)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    time.sleep(1.0 if options else 0.0)  # ranks notice that their launcher is gone
    kept = {path: path.stat().st_mtime_ns for path in weight_files(predicted)}
    said = succeed("retrain", *predicted)
    assert f"{41 - len(kept)} solved now" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert_same_within_certificates(predicted, undisturbed)


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_run_with_one_message(predicted: list[str]) -> None:
    (folder_of(predicted) / "retrain").write_text("in the way of the folder that the ranks must make")
    process = spawn("retrain", "--gpus", "2", *predicted)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "ended with exit code" in err
    assert "Traceback" not in err


LAUNCHES = """
import sys
from parallel.launch import RankFailedError, launch
from repro.program import program
try:
    launch([program(), *sys.argv[2:]], int(sys.argv[1]))
except RankFailedError as error:
    sys.exit(str(error))
"""


def launched(folder: Path, processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    """The program with these words in so many processes, started in a folder."""
    command = [sys.executable, "-P", "-c", LAUNCHES, str(processes), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)


def test_ranks_that_fail_end_the_launcher_with_the_first_of_them(tmp_path: Path) -> None:
    ended = launched(tmp_path, 2, "--nosuch")
    assert ended.returncode == 1
    assert re.search(
        r"^process [01] of 2 ended with exit code 2, and the others were ended", ended.stderr, re.M
    )
    assert "Traceback" not in ended.stderr


def test_a_file_of_the_users_with_a_package_s_name_is_not_run(tmp_path: Path) -> None:
    for name in ("cli", "plots", "report"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    process = launched(tmp_path, 1, "--version")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("repro ")


def test_a_launched_run_names_the_machine_that_lacks_the_run() -> None:
    problem = StageError("model.safetensors is missing")
    assert _naming_machine(problem, ALONE) is problem
    assert _naming_machine(problem, Group(size=4, ranks_here=4)) is problem
    said = str(_naming_machine(problem, Group(size=8, ranks_here=4)))
    assert said.startswith("model.safetensors is missing")
    assert f"on {socket.gethostname()}" in said


def test_a_script_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = repro("retrain", "--gpus", "2", *FAST, f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines()[-1].endswith("as with `pip install -c constraints.txt -e .`")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("count", [1, 3])
def test_collectives_of_one_process_give_back_what_they_are_given(count: int) -> None:
    """Group, tensor and objects: nothing is sent, and nothing is asked of torch.distributed."""
    tensor = torch.arange(count)
    assert all_reduce_sum(tensor, ALONE) is tensor
    assert broadcast(tensor, ALONE) is tensor
    assert broadcast_object(count, ALONE) == count
    assert all_gather_object(count, ALONE) == [count]
    barrier(ALONE)
    assert ALONE.own_rows(count) == slice(0, count)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_ranks_share_rows_out_without_gap_or_overlap(size: int) -> None:
    for count in (0, 1, 5, 100):
        shares = [Group(rank=rank, size=size).own_rows(count) for rank in range(size)]
        assert [row for share in shares for row in range(count)[share]] == list(range(count))
        assert max(share.stop - share.start for share in shares) <= -(-count // size)
