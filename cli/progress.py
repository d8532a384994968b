"""How long work is shown: a bar on a terminal, a plain line every ten seconds elsewhere, JSON for a program.

All three come from the same numbers: a `ProgressReport`, which the stage fills, and the pace measured here.
"""

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cli.console import emit, err, is_json, is_quiet
from repro.listener import ProgressReport

SECONDS_BETWEEN_LINES = 10.0
"""Between plain lines, the first of which comes at once."""
SECONDS_BETWEEN_OBJECTS = 1.0
"""Between JSON lines that tell of no new stage or pass."""
SECONDS_BETWEEN_PASSES = 0.1
"""Passes quicker than that are not told one by one."""


@dataclass(slots=True)
class Pace:
    """How fast a count goes, since it began. Another count (unit, total, or back to fewer) begins anew."""

    count: tuple[str, float | None] = ("", None)
    began: float = 0.0
    began_at: float = 0.0
    done: float = 0.0

    def follow(self, report: ProgressReport) -> bool:
        """Whether this is the beginning of another count: set-up is no measure of what comes after it."""
        count = report.unit, report.total
        another = count != self.count or report.done < self.done
        if another:
            self.count, self.began, self.began_at = count, time.monotonic(), report.done
        self.done = report.done
        return another

    @property
    def per_second(self) -> float | None:
        """The pace of the whole count, because steps are long and bursty; None before there is one."""
        seconds = time.monotonic() - self.began
        return (self.done - self.began_at) / seconds if self.done > self.began_at and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        rate, (_, total) = self.per_second, self.count
        return None if rate is None or total is None else max(0.0, (total - self.done) / rate)


@dataclass(slots=True)
class Bar:
    """What one piece of long work shows."""

    task: str
    shown: bool
    """Whether anything is said of it at all."""
    progress: Progress
    rich_task: TaskID
    began: float = field(default_factory=lambda: time.monotonic())
    pace: Pace = field(default_factory=Pace)
    last: ProgressReport | None = None
    last_told: ProgressReport | None = None
    told_at: float = field(default_factory=lambda: time.monotonic())

    def update(self, report: ProgressReport) -> None:
        """Show where the work stands, now or when it is time for it."""
        another_count = self.pace.follow(report)
        self.last = report
        if not self.shown:
            return
        if is_json():
            if self._is_due(report):
                self._emit(report)
        elif not self.progress.disable:
            if another_count:
                self.progress.reset(self.rich_task)
            words = ", ".join([report.words(), *self._rate()])
            self.progress.update(self.rich_task, completed=report.done, total=report.total, detail=words)

    def finish(self) -> None:
        """Tell a program the last report, however soon it came."""
        if self.shown and is_json() and self.last is not None and self.last is not self.last_told:
            self._emit(self.last)

    def _is_due(self, report: ProgressReport) -> bool:
        told, since = self.last_told, time.monotonic() - self.told_at
        if told is None or told.stage != report.stage or since >= SECONDS_BETWEEN_OBJECTS:
            return True
        return told.passes != report.passes and since >= SECONDS_BETWEEN_PASSES

    def _emit(self, report: ProgressReport) -> None:
        self.last_told, self.told_at = report, time.monotonic()
        measured = {
            "per_second": self.pace.per_second,
            "seconds_left": self.pace.seconds_left,
            "seconds": self.told_at - self.began,
        }
        emit(sys.stderr, "progress", {"task": self.task} | asdict(report) | measured)

    def print_line(self) -> None:
        """A plain line of where the work stands now, however long ago that changed."""
        report, seconds = self.last, time.monotonic() - self.began
        if report is None:
            err.print(f"{self.task}: " + ("started" if seconds < 1 else f"{seconds:.0f} s"), markup=False)
            return
        parts = [report.words(), *self._count(report), *self._rate(), *self._remaining()]
        err.print(f"{self.task}: {seconds:.0f} s, {', '.join(parts)}", markup=False)

    def _count(self, report: ProgressReport) -> list[str]:
        return [] if report.total is None else [f"{report.done:g} of {report.total:g} {report.unit}"]

    def _rate(self) -> list[str]:
        rate = self.pace.per_second
        if rate is None:
            return []
        number = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        return [f"{number} {self.pace.count[0]} per second"]

    def _remaining(self) -> list[str]:
        seconds = self.pace.seconds_left
        return [] if seconds is None else [f"about {math.ceil(seconds / 60)} min left"]


class TwoLines(Progress):
    """The bar, and beneath it the details, which beside it would not fit on a terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(f"  {task.fields['detail']}", style="dim", overflow="ellipsis", no_wrap=True)


def _can_redraw() -> bool:
    """Whether stderr is a terminal, and not only something that FORCE_COLOR says takes colours."""
    return err.is_terminal and (err.file is not sys.stderr or sys.stderr.isatty())


@contextmanager
def progress_bar(task: str, shown: bool = True) -> Iterator[Bar]:
    """What shows the work of the block on stderr; on a terminal it leaves nothing behind.

    Args:
        task: what the work is.
        shown: whether this process is the one that speaks.
    """
    shown = shown and not is_quiet()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with TwoLines(
        *columns,
        console=err,
        transient=True,
        disable=not shown or is_json() or not _can_redraw(),
        # The pace of the whole work, because its steps are long and bursty.
        speed_estimate_period=24 * 3600,
    ) as progress:
        bar = Bar(task, shown, progress, progress.add_task(task, total=None, detail=""))
        plain = shown and progress.disable and not is_json()
        try:
            with _printing_lines(bar) if plain else nullcontext():
                yield bar
        finally:
            bar.finish()


@contextmanager
def _printing_lines(bar: Bar) -> Iterator[None]:
    """A line at the beginning of the block and every few seconds in it, also while nothing is reported."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            bar.print_line()

    bar.print_line()
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
