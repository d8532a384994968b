"""plots/trace_METHOD: how the iteration of a method went that failed. The page has those of all methods."""

import glob
import math
from collections.abc import Iterable, Sequence

from repro.configuration.compose import Config
from repro.folder.paths import RunFolder
from repro.records.influence import InfluenceRecord

FEWEST_STEPS = 3
"""What takes fewer steps shows nothing."""


def is_worth_drawing(traces: Iterable[Sequence[tuple[float, float | None]]]) -> bool:
    """Whether any of these traces goes far enough to see how the iteration went."""
    return max((trace[-1][0] for trace in traces if trace), default=0) >= FEWEST_STEPS


def remove_traces(folder: RunFolder, method: str) -> None:
    """Away with the figure of a method's earlier failure."""
    for path in folder.figures.glob(f"{glob.escape(f'trace_{method}')}.*"):
        path.unlink()


def draw_traces(folder: RunFolder, config: Config, record: InfluenceRecord) -> None:
    """Draw the iterations that a record holds."""
    # Matplotlib is imported where a figure is drawn: that takes as long as a solver does.
    from plots.trace import draw_trace
    from repro.drawing.figures import write_figure

    method, solutions = record.method, record.solutions
    traces = {
        # JSON has no infinity, so the record has null where a norm overflowed.
        f"test point {found.test_index}": [
            (int(s or 0), math.inf if x is None else x) for s, x in found.trace
        ]
        for found in solutions
    }
    if not is_worth_drawing(traces.values()):
        return
    figure = draw_trace(traces, title=method, label=solutions[0].traced)
    write_figure(folder, config, figure, f"trace_{method}")
