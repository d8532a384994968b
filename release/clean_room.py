"""An environment with nothing in it and a folder that is not the source tree, to try what is published."""

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
METHODS = ("exact", "cg", "lissa", "lissa_auto", "grad_dot", "newton_step", "rif")


@dataclass(frozen=True)
class Room:
    """A new environment, and an empty folder to work in."""

    environment: Path
    folder: Path

    def run(self, command: str | list[str], folder: Path | None = None, **variables: str) -> None:
        """Run a command, a line for the shell if it is text, with the environment's programs first.

        Args:
            command: what to run.
            folder: where; the room's folder by default.
            variables: environment variables to set besides.

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
            cwd=folder or self.folder,
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
