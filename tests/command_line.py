"""Running the program as a user does, in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from cli.main import app

PROJECT = Path(__file__).parents[1]
FAST = ("data=digits", "data.num_train=300", "top_k=40", "plot.formats=[png]")
"""A real problem that a test can afford."""


def repro(*arguments: str | Path) -> Result:
    """In this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: str | Path) -> str:
    """In this process; its standard output, once it has exited 0."""
    result = repro(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def spawn(*arguments: str | Path, module: str = "cli", threads: int | None = 1) -> subprocess.Popen[str]:
    """In a process of its own, with so many threads (None: as many as it likes)."""
    limit = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | limit,
    )
