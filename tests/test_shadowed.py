"""In a project that has packages of the same names: works, or says which of them is in the way."""

import os
import subprocess
from pathlib import Path

import pytest

from repro.program import program

NAMES = ("cli", "configs", "plots", "report", "influence")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    return tmp_path


def start(project: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program(), *arguments],
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("ranks", [(), pytest.param(("--gpus", "2"), marks=pytest.mark.slow)])
def test_in_such_a_project_ranks_and_all_stages_work(project: Path, ranks: tuple[str, ...]) -> None:
    settings = ("data=digits", "data.num_train=120", "top_k=6", "test_index=3", "plot.formats=[png]")
    ended = start(project, "run", *settings, "--method", "cg", *ranks, "output_dir=run")
    assert ended.returncode == 0, ended.stderr
    assert (project / "run" / "leave_one_out.csv").exists()


def test_what_is_in_the_way_is_named(project: Path) -> None:
    ended = start(project, "config", PYTHONPATH=str(project))
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert str(project / "cli") in ended.stderr
    assert "PYTHONPATH" in ended.stderr
