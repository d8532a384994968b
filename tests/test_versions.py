"""What must hold with any versions that pyproject.toml allows: every command of the installed program.

`make lowest` and `make newest` run this in environments of their own; the lower bounds are what passed. What
starts many processes is `slow` elsewhere, where other tests do the same in one.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement

from cli.command import COMMANDS
from tests.command_line import FAST, PROJECT

pytestmark = [pytest.mark.versions, pytest.mark.figures]
PROGRAM = Path(sys.executable).parent / "repro"
PATIENCE = 1800
NAMES = ["exact", "cg", "lissa", "lissa_auto", "grad_dot"]
METHODS = [word for name in NAMES for word in ("--method", name)]


def installed(*arguments: str | Path, exit_code: int = 0) -> str:
    """Run the installed program from outside of the source tree; all that it said."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd="/",
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"},
    )
    assert done.returncode == exit_code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figure on digits by all five methods, and its page."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    installed("run", "data=digits", *METHODS, f"output_dir={folder}")
    installed("report", "data=digits", f"output_dir={folder}")
    return folder


@pytest.mark.slow
def test_the_figure_by_all_methods(finished: Path) -> None:
    table = pd.read_csv(finished / "leave_one_out.csv")
    summary = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    assert sorted(summary["methods"]) == sorted(set(table["method"])) == sorted(NAMES)
    for method in ("exact", "cg", "lissa_auto"):
        assert summary["methods"][method]["pearson"] > 0.9999
        assert 1.0 < summary["methods"][method]["slope"] < 1.1
    assert summary["methods"]["lissa"]["pearson"] > 0.99
    assert summary["max_certificate"] < 1e-5
    assert (finished / "plots" / "leave_one_out.png").stat().st_size > 10_000
    assert (finished / "plots" / "leave_one_out.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_the_page_and_the_check(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)
    assert "BAD" not in installed("check", finished)


@pytest.mark.slow
def test_the_truth_in_both_formats_is_the_same(finished: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"truth.{suffix}"
        installed("ground-truth", "data=digits", "--test-index", "3", "--out", out, f"output_dir={finished}")
    csv, parquet = pd.read_csv(tmp_path / "truth.csv"), pd.read_parquet(tmp_path / "truth.parquet")
    assert len(csv) > 300
    pd.testing.assert_frame_equal(csv, parquet)


@pytest.mark.slow
def test_one_s_own_arrays_with_a_bias(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x_train, x_test = rng.normal(size=(60, 4)), rng.normal(size=(8, 4))
    weights = rng.normal(size=(4, 3))
    y_train, y_test = ((x @ weights).argmax(1) for x in (x_train, x_test))
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    overrides = ("data=npz", f"data.path={path}", "model.bias=true", "top_k=10")
    installed("run", *overrides, "--method", "cg", "test_index=[0]", f"output_dir={tmp_path / 'run'}")
    assert len(pd.read_csv(tmp_path / "run" / "leave_one_out.csv")) == 10


@pytest.mark.slow
def test_a_comparison_and_a_sweep(tmp_path: Path) -> None:
    installed("compare", *FAST, "compare.settings=[exact,cg,lissa_auto]", f"output_dir={tmp_path / 'run'}")
    assert set(pd.read_csv(tmp_path / "run" / "compare.csv")["method"]) == {"exact", "cg", "lissa_auto"}
    swept = ("model.l2=0.01,0.1", "test_index=[3]")
    installed("sweep", *FAST, "--method", "cg", *swept, "--out", tmp_path / "sweep")
    assert sorted(pd.read_csv(tmp_path / "sweep" / "sweep.csv")["model.l2"]) == [0.01, 0.1]


@pytest.mark.slow
def test_two_processes_solve_what_one_solves(tmp_path: Path) -> None:
    tables = []
    for processes in ("0", "2"):
        folder = tmp_path / processes
        installed("run", *FAST, "--method", "cg", "--gpus", processes, f"output_dir={folder}")
        tables.append(pd.read_csv(folder / "leave_one_out.csv"))
    one, two = tables
    assert ((one["actual_change"] - two["actual_change"]).abs() <= one["certificate"]).all()


@pytest.mark.parametrize("command", [function.__name__.replace("_", "-") for function in COMMANDS])
def test_help_of_every_command(command: str) -> None:
    said = installed(command, "--help")
    assert f"repro {command}" in said
    assert "Examples" in said
    assert "--help" in said


def test_help_of_the_program_lists_every_command() -> None:
    said = installed("--help")
    assert all(function.__name__.replace("_", "-") in said for function in COMMANDS)
    alone = subprocess.run([PROGRAM], capture_output=True, text=True, check=False)
    assert "Usage" in alone.stdout + alone.stderr
    assert "Error" not in alone.stdout + alone.stderr


def test_mistakes_are_named() -> None:
    assert "--nosuch" in installed("run", "--nosuch", exit_code=2)
    assert "model.nosuch" in installed("run", "data=digits", "model.nosuch=1", exit_code=2)
    assert "nosuch" in installed("nosuch", exit_code=2)


def test_every_requirement_says_how_old_it_may_be() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [text for name in project["optional-dependencies"].values() for text in name]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert any(bound.operator in (">=", "==") for bound in requirement.specifier), requirement
