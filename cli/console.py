"""What a person sees: lines on stdout, warnings and progress on stderr."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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

SECONDS_BETWEEN_LINES = 60.0

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


@dataclass(slots=True)
class Bar:
    """One progress bar; where stderr is no terminal, a plain line a minute instead."""

    title: str
    progress: Progress
    task: TaskID
    last_line: float = field(default_factory=time.monotonic)

    def update(self, done: float, total: float | None, detail: str = "") -> None:
        """Show `done` of `total` (None: no end known) and a few words beside it."""
        self.progress.update(self.task, completed=done, total=total, detail=detail)
        if self.progress.disable and time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            of = "" if total is None else f"{done:g} of {total:g}{self._remaining()}, "
            err.print(f"{self.title}: {of}{detail}", markup=False)

    def restart(self) -> None:
        """Forget the pace so far: what comes now goes at another."""
        self.progress.reset(self.task)

    def _remaining(self) -> str:
        seconds = self.progress.tasks[0].time_remaining
        return "" if seconds is None else f", about {math.ceil(seconds / 60)} min left"


@contextmanager
def progress_bar(title: str) -> Iterator[Bar]:
    """A bar on stderr for the length of the block; on a terminal it leaves nothing behind."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    with Progress(
        *columns,
        console=err,
        transient=True,
        disable=not err.is_terminal,
        # The pace of the whole work, because its steps are long and bursty.
        speed_estimate_period=24 * 3600,
    ) as progress:
        yield Bar(title, progress, progress.add_task(title, total=None, detail=""))
