"""Tables to draw, and what a drawn figure holds."""

from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import BboxBase
from pandas import DataFrame, concat

from plots.agreement import Agreement, agreement
from plots.leave_one_out import draw_leave_one_out
from plots.style import DEFAULT, Style

HALF_MARKER = 0.5 * DEFAULT.marker_inches / (DEFAULT.side / 2)
"""As a share of the limit: what an error bar must exceed to be seen."""
SMALLEST_TEXT = 6.5
"""Points, in print."""


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


def draw(
    *parts: DataFrame, limits: float | None = None, selection: str | None = None, style: Style = DEFAULT
) -> Figure:
    table = concat(parts)
    titles = {"exact": "Linear (exact)", "lissa": "Linear (approx)"}
    return draw_leave_one_out(
        table, all_agreements(table), titles, limits=limits, selection=selection, style=style
    )


def assert_texts_are_apart(figure: Figure) -> list[BboxBase]:
    """Every text lies inside the figure, is large enough to read, and overlaps no other; their boxes."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and _is_shown(text)]
    boxes = [text.get_window_extent() for text in found]
    for text, box in zip(found, boxes, strict=True):
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, text.get_text()
        assert float(text.get_fontsize()) >= SMALLEST_TEXT, text.get_text()
    for (text, box), (other, other_box) in combinations(zip(found, boxes, strict=True), 2):
        assert not box.overlaps(other_box), (text.get_text(), other.get_text())
    return list(boxes)


def _is_shown(text: Text) -> bool:
    return text.get_visible() and (text.axes is None or text.axes.axison or text in text.axes.texts)


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
