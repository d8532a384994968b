"""How a benchmark prints what it measured, and on what."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One line of a table: what was measured, what came out, and the range aimed at (None: no end)."""

    name: str
    value: float
    form: str = "{:.2f}"
    """How the value and the ends of the range are written, unit included."""
    least: float | None = None
    most: float | None = None

    @property
    def goal(self) -> str:
        ends = [(word, end) for word, end in (("≥", self.least), ("≤", self.most)) if end is not None]
        return " and ".join(f"{word} {self.form.format(end)}" for word, end in ends)

    @property
    def met(self) -> bool:
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )


def show(console: Console, title: str, measures: Sequence[Measure]) -> None:
    """Print the measures as a Markdown table, as docs/benchmarks.md records them."""
    console.print(f"\n{title}\n", highlight=False)
    table = Table("measure", "measured", "goal", "met", box=MARKDOWN)
    for measure in measures:
        met = "" if not measure.goal else "yes" if measure.met else "NO"
        table.add_row(measure.name, measure.form.format(measure.value), measure.goal, met)
    console.print(table)


def machine() -> str:
    """The machine and the versions that the figures belong to."""
    return (
        f"{os.cpu_count()} cores of {_processor()}, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
