"""Tables to draw, and what a drawn figure holds."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from pandas import DataFrame, concat

from plots.agreement import Agreement, agreement
from plots.leave_one_out import draw_leave_one_out
from plots.panel import AXES_INCHES, MARKER_INCHES

HALF_MARKER = 0.5 * MARKER_INCHES / (AXES_INCHES / 2)
"""As a share of the limit: what an error bar must exceed to be seen."""


def rows(
    method: str = "exact",
    test_index: int = 8,
    scale: float = 1.0,
    num_points: int = 40,
    **columns: Any,
) -> DataFrame:
    """Points of one method; `columns` override the faithful predictions."""
    generator = np.random.default_rng(0)
    predicted = generator.choice([-1.0, 1.0], num_points) * generator.uniform(0.003, 0.0304, num_points)
    table = DataFrame({"method": method, "test_index": test_index, "train_index": np.arange(num_points)})
    table["label"] = 5
    table["predicted_change"] = scale * predicted
    table["predicted_stderr"] = 0.0
    table["actual_change"] = scale * (1.006 * predicted + 1e-4 * generator.normal(size=num_points))
    table["certificate"] = 0.0
    return table.assign(**columns)


def all_agreements(table: DataFrame) -> dict[tuple[str, int], Agreement]:
    return {
        (str(method), int(str(test))): agreement(part["predicted_change"], part["actual_change"])
        for (method, test), part in table.groupby(["method", "test_index"])
    }


def draw(*parts: DataFrame, limits: float | None = None, selection: str | None = None) -> Figure:
    table = concat(parts)
    titles = {"exact": "Linear (exact)", "lissa": "Linear (approx)"}
    return draw_leave_one_out(table, all_agreements(table), titles, limits=limits, selection=selection)


def texts(panel: Axes | Figure, gid: str) -> list[str]:
    return [text.get_text() for text in panel.findobj(Text) if text.get_gid() == gid and text.get_text()]


def offsets(panel: Axes, gid: str) -> np.ndarray:
    """Positions of all markers with this gid, of shape (points, 2)."""
    found = [c for c in panel.collections if isinstance(c, PathCollection) and c.get_gid() == gid]
    return np.concatenate([np.asarray(c.get_offsets()) for c in found] or [np.empty((0, 2))])


def bars(panel: Axes, gid: str) -> np.ndarray:
    """Ends of all error bars with this gid, of shape (bars, 2 ends, 2 coordinates)."""
    found = [c for c in panel.collections if isinstance(c, LineCollection) and c.get_gid() == gid]
    return np.concatenate([np.asarray(c.get_segments()) for c in found] or [np.empty((0, 2, 2))])
