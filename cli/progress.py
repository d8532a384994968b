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
class Bar:
    """What one piece of long work shows."""

    task: str
    progress: Progress
    """With one task, which counts for the lines and objects too."""
    began: float = field(default_factory=lambda: time.monotonic())
    last: ProgressReport | None = None
    last_told: ProgressReport | None = None
    told_at: float = 0.0

    def update(self, report: ProgressReport) -> None:
        """Show where the work stands, now or when it is time for it."""
        if is_quiet():
            return
        self._count(report)
        self.last = report
        if is_json() and self._is_due(report):
            self._emit(report)

    def _count(self, report: ProgressReport) -> None:
        """Another count (unit, total, or back to fewer) begins anew: set-up is no measure of what follows."""
        (counted,) = self.progress.tasks
        last = self.last
        if last is None or (last.unit, last.total) != (report.unit, report.total) or report.done < last.done:
            self.progress.reset(counted.id, detail="", began_at=report.done, unit=report.unit)
            counted.total = report.total
        if self.progress.disable:
            counted.completed = report.done
        else:
            detail = ", ".join([report.words(), *self._rate()])
            self.progress.update(counted.id, completed=report.done, detail=detail)

    def finish(self) -> None:
        """Tell a program the last report, however soon it came."""
        if is_json() and self.last is not None and self.last is not self.last_told:
            self._emit(self.last)

    def _is_due(self, report: ProgressReport) -> bool:
        told, since = self.last_told, time.monotonic() - self.told_at
        if told is None or told.stage != report.stage or since >= SECONDS_BETWEEN_OBJECTS:
            return True
        return told.passes != report.passes and since >= SECONDS_BETWEEN_PASSES

    def _emit(self, report: ProgressReport) -> None:
        self.last_told, self.told_at = report, time.monotonic()
        rate, left = self._pace()
        measured = {"per_second": rate, "seconds_left": left, "seconds": self.told_at - self.began}
        emit(sys.stderr, "progress", {"task": self.task} | asdict(report) | measured)

    def print_line(self) -> None:
        """A plain line of where the work stands now, however long ago that changed."""
        report, seconds = self.last, time.monotonic() - self.began
        if report is None:
            err.print(f"{self.task}: " + ("started" if seconds < 1 else f"{seconds:.0f} s"), markup=False)
            return
        _, left = self._pace()
        counted = [] if report.total is None else [f"{report.done:g} of {report.total:g} {report.unit}"]
        remaining = [] if left is None else [f"about {math.ceil(left / 60)} min left"]
        parts = [report.words(), *counted, *self._rate(), *remaining]
        err.print(f"{self.task}: {seconds:.0f} s, {', '.join(parts)}", markup=False)

    def _pace(self) -> tuple[float | None, float | None]:
        """Steps per second and seconds left. Of the whole count, as steps are long and bursty."""
        (counted,) = self.progress.tasks
        steps, seconds = counted.completed - counted.fields["began_at"], counted.elapsed or 0.0
        if steps <= 0 or seconds <= 0:
            return None, None
        rate = steps / seconds
        return rate, None if counted.total is None else max(0.0, counted.total - counted.completed) / rate

    def _rate(self) -> list[str]:
        rate, _ = self._pace()
        if rate is None:
            return []
        number = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        return [f"{number} {self.progress.tasks[0].fields['unit']} per second"]


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
def progress_bar(task: str) -> Iterator[Bar]:
    """What shows the work of the block on stderr; on a terminal it leaves nothing behind."""
    shown = not is_quiet() and not is_json()
    with TwoLines(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        get_time=lambda: time.monotonic(),
        transient=True,
        disable=not shown or not _can_redraw(),
        speed_estimate_period=24 * 3600,
    ) as progress:
        progress.add_task(task, total=None, detail="", began_at=0.0)
        bar = Bar(task, progress)
        try:
            with _printing_lines(bar) if shown and progress.disable else nullcontext():
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
