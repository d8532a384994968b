"""Build and run the container file; where no container can be made, its steps in a clean room.

The clean room has this Python, not the image's, no user of its own and no root folder of its own: absolute
working directories become folders in it. What the steps install and what the default command does is the
same. `make container` calls it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
KNOWN = ("FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "CMD")
RESULTS = ("leave_one_out.csv", "summary.json", "report.html", "plots/leave_one_out.png")
TAG = "leave-one-out-reproducer"


@dataclass(frozen=True)
class Step:
    """An instruction and what follows it."""

    instruction: str
    value: str


@dataclass(frozen=True)
class Room:
    """A new environment, and an empty folder to work in."""

    environment: Path
    folder: Path

    def run(self, command: str | list[str], folder: Path, **variables: str) -> None:
        """Run a command, a line for the shell if it is text, with the environment's programs first.

        Raises:
            subprocess.CalledProcessError: it did not end with 0.
        """
        shown = command if isinstance(command, str) else " ".join(command)
        sys.stdout.write(f"$ {shown}\n")
        sys.stdout.flush()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        path = f"{self.environment / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        subprocess.run(
            command,
            shell=isinstance(command, str),
            check=True,
            cwd=folder,
            env=inherited | {"PATH": path, "VIRTUAL_ENV": str(self.environment)} | variables,
        )


@contextmanager
def clean_room() -> Iterator[Room]:
    """A room that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="clean-room-") as name:
        room = Room(Path(name) / "environment", Path(name) / "folder")
        room.folder.mkdir()
        venv.create(room.environment, with_pip=True)
        yield room


def steps(text: str) -> list[Step]:
    """The instructions of a container file, in order.

    Raises:
        ValueError: an instruction that is not among `KNOWN`, or other than one default command at the end.
    """
    found = [
        Step(*(line.split(maxsplit=1)))
        for line in text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    unknown = [step.instruction for step in found if step.instruction not in KNOWN]
    if unknown:
        raise ValueError(f"the container file has {', '.join(unknown)}, which is not tried here")
    if [step.instruction for step in found].count("CMD") != 1 or found[-1].instruction != "CMD":
        raise ValueError("the container file needs one CMD, at its end")
    return found


def try_steps(room: Room, text: str) -> Path:
    """Take every step in the room; the folder in which the default command ran."""
    folder, variables = room.folder, dict[str, str]()
    for step in steps(text):
        match step.instruction:
            case "WORKDIR":
                folder = room.folder / step.value.lstrip("/")
                folder.mkdir(parents=True, exist_ok=True)
            case "COPY":
                if step.value != ". .":
                    raise ValueError(f"COPY {step.value}: only `COPY . .` is tried here")
                _copy_tracked(folder)
            case "ENV":
                name, value = step.value.split("=", 1)
                variables[name] = str(room.folder / value.lstrip("/")) if value.startswith("/") else value
            case "RUN":
                room.run(step.value, folder, **variables)
            case "CMD":
                room.run(json.loads(step.value), folder, **variables)
            case _:
                sys.stdout.write(f"# not tried here: {step.instruction} {step.value}\n")
    return folder


def _copy_tracked(folder: Path) -> None:
    """What git knows and what it does not ignore: the same as the build context but for .dockerignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)


def main(file: Path) -> None:
    """In a container if one can be made, else in a clean room, saying so."""
    program = next((name for name in ("podman", "docker") if _works(name)), None)
    with clean_room() as room:
        if program is None:
            sys.stdout.write("no docker or podman works here: the steps in a new environment instead\n")
            folder = try_steps(room, file.read_text(encoding="utf-8"))
        else:
            folder = room.folder
            (folder / "outputs").mkdir(mode=0o777)
            (folder / "outputs").chmod(0o777)
            subprocess.run([program, "build", "-f", str(file), "-t", TAG, "."], cwd=PROJECT, check=True)
            mounted = ["-v", f"{folder / 'outputs'}:/results/outputs"]
            subprocess.run([program, "run", "--rm", *mounted, TAG], check=True)
        missing = [name for name in RESULTS if not (folder / "outputs" / "demo" / name).is_file()]
    if missing:
        raise SystemExit(f"the default command left no {', '.join(missing)}")
    sys.stdout.write(f"the default command wrote {', '.join(RESULTS)}\n")


def _works(program: str) -> bool:
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
