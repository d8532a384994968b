"""Execute a notebook as a reader would, with this environment's programs: `make notebook`."""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

SECONDS_PER_CELL = 600


def execute(source: Path, target: Path) -> None:
    """Run all cells in an empty folder and write the notebook with what they showed.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised; the message shows it.
    """
    notebook = nbformat.read(source, as_version=4)
    # What `!repro` finds.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        client = NotebookClient(notebook, timeout=SECONDS_PER_CELL, resources={"metadata": {"path": folder}})
        client.execute()
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    sys.stdout.write(f"executed {source}, wrote {target}\n")


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]))
