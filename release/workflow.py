"""Take the steps of the GitHub workflow here, each job in a clone of its own: `make workflow`.

Of the actions it knows the two that the workflow uses: a checkout is a clone of the last commit, a Python is
one that is installed here; a job whose Python is not is left out, and said. Indexes of packages are this
machine's.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[1]
INDEXES = ("PIP_EXTRA_INDEX_URL", "UV_TORCH_BACKEND")


@dataclass(frozen=True)
class Job:
    """A job with one choice of its matrix."""

    name: str
    python: str
    commands: tuple[str, ...]


def jobs(workflow: dict[str, Any]) -> Iterator[Job]:
    """Every job for every choice of its matrix, the choice written into its steps.

    Raises:
        ValueError: a step is neither a command nor one of the two actions.
    """
    for name, job in workflow["jobs"].items():
        matrix: dict[str, list[str]] = job.get("strategy", {}).get("matrix", {})
        for values in itertools.product(*matrix.values()):
            choice = dict(zip(matrix, values, strict=True))
            python, commands = "", []
            for step in job["steps"]:
                if "run" in step:
                    commands.append(_filled(step["run"], choice))
                elif step["uses"].startswith("actions/setup-python@"):
                    python = _filled(step["with"]["python-version"], choice)
                elif not step["uses"].startswith("actions/checkout@"):
                    raise ValueError(f"job {name}: {step['uses']} is not known here")
            yield Job(" ".join([name, *values]), python, tuple(commands))


def _filled(text: str, choice: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ matrix\.([\w-]+) \}\}", lambda found: choice[found[1]], text)


def python_here(version: str) -> str | None:
    """A Python of this version that works."""
    installed = Path.home() / ".pyenv" / "versions"
    found = [str(path) for path in sorted(installed.glob(f"{version}.*/bin/python"))]
    for program in (shutil.which(f"python{version}"), *found):
        if program is None:
            continue
        asked = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.startswith(f"Python {version}."):
            return program
    return None


def take(job: Job, variables: dict[str, str]) -> bool:
    """The steps of one job in a clone of its own; whether all ended with 0."""
    python = python_here(job.python)
    if python is None:
        sys.stdout.write(f"LEFT OUT {job.name}: there is no Python {job.python} here\n")
        return True
    environment = {name: value for name, value in variables.items() if name not in INDEXES}
    with tempfile.TemporaryDirectory(prefix="workflow-") as folder:
        subprocess.run(["git", "clone", "-q", str(PROJECT), folder], check=True)
        for command in job.commands:
            start = time.monotonic()
            ended = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", command],
                cwd=folder,
                check=False,
                env=os.environ | environment | {"PYTHON": python},
            )
            word = "good" if ended.returncode == 0 else "BAD "
            sys.stdout.write(f"{word} {job.name}: {command} ({time.monotonic() - start:.0f} s)\n")
            sys.stdout.flush()
            if ended.returncode != 0:
                return False
    return True


def main(file: Path, wanted: list[str]) -> None:
    """All jobs, or those whose name begins with one of the words."""
    workflow: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    chosen = [job for job in jobs(workflow) if not wanted or job.name.startswith(tuple(wanted))]
    bad = [job.name for job in chosen if not take(job, workflow.get("env", {}))]
    if bad:
        raise SystemExit(f"failed: {', '.join(bad)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
