"""What a person sees: lines on stdout, warnings and progress on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line of results."""
    out.print(line, markup=False)


def warn(line: str) -> None:
    """One line of warning."""
    err.print(f"warning: {line}", style="yellow", markup=False)


def complain(line: str) -> None:
    """Why the command failed."""
    err.print(f"error: {line}", style="red", markup=False)


def show(table: Table) -> None:
    """A table of results."""
    out.print(table)


@dataclass(frozen=True, slots=True)
class Bar:
    """One progress bar."""

    progress: Progress
    task: TaskID

    def update(self, done: float, total: float | None, detail: str = "") -> None:
        """Show `done` of `total` (None: no end known) and a few words beside it."""
        self.progress.update(self.task, completed=done, total=total, detail=detail)


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """A bar on stderr for the length of the block; it leaves nothing behind, and draws nothing in a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=None, detail=""))
