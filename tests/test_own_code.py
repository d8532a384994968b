"""A folder of one's own: its files are choices like any other, and its faults are named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.configuration.compose import compose, groups
from tests.command_line import FAST, PROJECT, repro, succeed

SOLVER = """
from influence.solution import Solution, Status

class Mine:
    def __init__(self, depth):
        if depth == 13:
            raise KeyError("unlucky")
        if depth < 1:
            raise ValueError("depth must be at least 1")

    def at(self, curvature, progress=None):
        def solve(v):
            {body}
        return solve
"""
SOLVED = "return Solution(value=v, status=Status.FINISHED, message='s = v')"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with a space and quotes in its name, and a solver `mine`."""
    folder = tmp_path / "it's my ${own} folder"
    for group in ("influence", "data", "model"):
        (folder / group).mkdir(parents=True)
    (folder / "influence" / "mine.yaml").write_text("_target_: solver_of_mine.Mine\ndepth: 3\n")
    write_solver(folder, SOLVED)
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(folder))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return folder


def write_solver(folder: Path, body: str) -> None:
    (folder / "solver_of_mine.py").write_text(SOLVER.format(body=body))
    sys.modules.pop("solver_of_mine", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    succeed("train", *FAST, f"output_dir={folder}")
    return folder


def influence(run: Path, *overrides: str) -> tuple[int, str]:
    result = repro("influence", "--method", "mine", *FAST, *overrides, f"output_dir={run}")
    assert "Traceback" not in result.output
    return result.exit_code, result.stderr


def test_own_files_are_choices_like_any_other(own: Path) -> None:
    assert groups()["influence"] == [
        "cg",
        "exact",
        "grad_dot",
        "lissa",
        "lissa_auto",
        "mine",
        "newton_step",
        "rif",
    ]
    assert "|mine" in succeed("config", "--groups")
    assert compose(["influence.depth=7"], "mine")["influence"]["depth"] == 7
    # The package's own folder is as it was without the variable.
    os.environ.pop("REPRO_CONFIG_DIR")
    assert "mine" not in groups()["influence"]


def test_own_solver_runs_and_its_table_is_its_answer(own: Path, trained: Path) -> None:
    assert influence(trained) == (0, "influence (mine): started\n")
    succeed("influence", "--method", "grad_dot", *FAST, f"output_dir={trained}")
    tables = [(trained / "influence" / f"{name}.csv").read_text() for name in ("mine", "grad_dot")]
    assert tables[0] == tables[1]
    assert json.loads((trained / "influence" / "mine.json").read_text())["settings"]["depth"] == 3


def test_mistyped_names_are_answered_by_own_ones(own: Path) -> None:
    for arguments in (["influence", "--method", "mien"], ["config", "influence=mien"]):
        result = repro(*arguments)
        assert result.exit_code == 2
        assert "Did you mean mine?" in result.stderr
        assert str(own / "influence") in result.stderr
    result = repro("config", "--method", "mine", "influence.dept=3")
    assert result.exit_code == 2
    assert "influence.depth" in result.stderr


BODIES = {
    "raises": ("return v @ v.outer(v)[:1]", 1, ("solver_of_mine.py, line 13, in solve", "RuntimeError")),
    "NaN that calls itself finished": (
        "return Solution(value=v * float('nan'), status=Status.FINISHED, message='')",
        1,
        ("solver_of_mine.py, line 13", "NaN", "failure"),
    ),
    "no solution": ("return v", 1, ("--method mine", "Tensor", "influence.solution.Solution")),
    "another shape": (
        "return Solution(value=v[1:], status=Status.FINISHED, message='')",
        1,
        ("--method mine", "(639,)", "(640,)"),
    ),
    "another precision": (
        "return Solution(value=v.float(), status=Status.FINISHED, message='')",
        1,
        ("--method mine", "float32", "float64"),
    ),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_a_solver_does_wrong_is_named(own: Path, trained: Path, case: str) -> None:
    body, exit_code, said = BODIES[case]
    write_solver(own, body)
    assert influence(trained)[0] == exit_code
    for words in said:
        assert words in influence(trained)[1]


SETTINGS = {
    "no such setting": ("influence.depth=0", 2, "influence._target_=solver_of_mine.Mine: depth must be"),
    "another error": ("influence.depth=13", 1, "solver_of_mine.py, line 7, in __init__: KeyError"),
    "no such class": ("influence._target_=solver_of_mine.Other", 2, "solver_of_mine.Other"),
    "no such module": ("influence._target_=nowhere.Mine", 2, "No module named 'nowhere'"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_what_a_constructor_refuses_is_named(own: Path, trained: Path, case: str) -> None:
    override, exit_code, said = SETTINGS[case]
    code, message = influence(trained, override)
    assert code == exit_code
    assert said in message


FILES = {
    "no YAML": ("influence/broken.yaml", "a: [1", ["config", "--method", "broken"], "broken.yaml"),
    "no _target_": ("model/broken.yaml", "l2: 0.1", ["train", "model=broken"], "the file chosen names no"),
    "name that is taken": ("influence/cg.yaml", "a: 1", ["config"], "influence=cg is there already"),
    "no Python": ("solver_of_mine.py", "x = (", ["influence", "--method", "mine"], "SyntaxError"),
    "no risk": (
        "model/broken.yaml",
        "_target_: builtins.dict",
        ["train", "model=broken"],
        "model._target_=builtins.dict returned a dict, expected erm.risk.EmpiricalRisk; it lacks curvature",
    ),
    "no data set": (
        "data/broken.yaml",
        "_target_: builtins.dict",
        ["train", "data=broken"],
        "data._target_=builtins.dict returned a dict, expected erm.dataset.Dataset",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_what_is_wrong_with_a_file_is_named(own: Path, tmp_path: Path, case: str) -> None:
    name, text, arguments, said = FILES[case]
    (own / name).write_text(text)
    sys.modules.pop("solver_of_mine", None)
    data = [] if arguments[0] == "config" or "data=broken" in arguments else [*FAST]
    result = repro(*arguments, *data, *([] if arguments[0] == "config" else [f"output_dir={tmp_path}/run"]))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_CONFIG_DIR", "/nowhere/at/all")
    result = repro("config")
    assert result.exit_code == 2
    assert "REPRO_CONFIG_DIR=/nowhere/at/all" in result.stderr


def test_without_the_folder_a_module_that_is_missing_is_said_with_the_remedy(tmp_path: Path) -> None:
    result = repro("train", "data=digits", "model._target_=nowhere.model", f"output_dir={tmp_path}/run")
    assert result.exit_code == 2
    assert "REPRO_CONFIG_DIR=FOLDER" in result.stderr


@pytest.mark.slow
def test_processes_that_a_command_starts_know_the_folder(own: Path, tmp_path: Path) -> None:
    """Two processes of one stage, and the runs of a sweep; each in a working directory without the files."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "cli", *arguments], check=True, cwd=tmp_path, env=environment, timeout=300
        )

    run("train", *FAST, "output_dir=run")
    run("influence", "--method", "mine", "--gpus", "2", *FAST, "output_dir=run")
    assert (tmp_path / "run" / "influence" / "mine.csv").exists()
    run("sweep", "--method", "mine", *FAST, "influence.depth=1,2", "--out", "sweep")
    assert len((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()) == 3
