"""The figure of the paper: predicted against actual changes of the test loss when one example is left out."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from pandas import DataFrame

from plots.agreement import QUADRATIC, Agreement
from plots.limits import row_limits
from plots.panel import Drawn, draw_panel, write_title
from plots.points import Points
from plots.style import DEFAULT, MUTED, NOTE_SIZE, TITLE_SIZE, Style, styled
from plots.tables import check_drawable

COLUMNS = ("method", "test_index", "predicted_change", "predicted_stderr", "actual_change", "certificate")
MAX_COLUMNS = 3
"""Panels side by side for one test point; more methods continue in the next row."""

# Inches, in every style.
NOTE_ROOM = 0.14
ROW_LABEL = 0.12
KEY_LINE = 0.125
KEY_MARGIN = 0.06
KEY_CHARACTERS_PER_INCH = 17
TITLE_LINE = 0.14
TITLE_CHARACTERS_PER_INCH = 15


def draw_leave_one_out(
    table: DataFrame,
    agreements: Mapping[tuple[str, int], Agreement],
    titles: Mapping[str, str],
    limits: float | None = None,
    selection: str | None = None,
    style: Style = DEFAULT,
) -> Figure:
    """Draw one panel per method and one row per test point, both in the order in which the table names them.

    Panels of a test point share symmetric limits; `plots.limits` says when a panel gets vertical limits of
    its own, which its axis and a note then show in another colour. Points outside given limits are triangles
    on the frame, and counted. Methods of a single test point wrap after `MAX_COLUMNS` panels. A bare style
    leaves out statistics, error bars, triangles, key and selection; what its frames cut off is counted still.

    Args:
        table: one row per method × test point × training point, with at least `COLUMNS`. Changes, standard
            errors and certificates are in units of the test loss, which has no L2.
        agreements: statistics by (method, test index); may be absent where no pair is finite.
        titles: a panel's title by method; a method without one is titled by its name.
        limits: half the length of the shared axes; from the data when None.
        selection: how the training points were chosen, for the title of the figure.
        style: its look.

    Returns:
        The figure, to be written with `plots.style.save` in the same style.

    Raises:
        ValueError: a column, an agreement or every row is missing, or limits is not a positive number.
    """
    _check(table, agreements, limits)
    methods, tests = table["method"].unique().tolist(), table["test_index"].unique().tolist()
    with styled(style):
        figure = Figure()
        grid = [[figure.add_subplot(label=f"{method} {test}") for method in methods] for test in tests]
        panels = [axes for row in grid for axes in row]
        drawn = []
        for test, row in zip(tests, grid, strict=True):
            of_test = table[table["test_index"] == test]
            drawn += _draw_row(row, of_test, methods, agreements, limits, style)
        raised = any(panel.notes for panel in drawn)
        for axes, method, panel in zip(panels, methods * len(tests), drawn, strict=True):
            write_title(axes, titles.get(method, method), panel.notes, raised)
        if len(tests) > 1:
            _label_rows(grid, tests)
        num_columns = _num_columns(len(methods), len(tests))
        if style.bare:
            _share_tick_labels(panels, drawn, num_columns)
        heading = "" if style.bare else _heading(tests, selection)
        title = figure.text(0.5, 1, heading, gid="selection", ha="center", va="top")
        title.set(color=MUTED, fontsize=TITLE_SIZE)
        key = figure.text(
            0.5, 0, "" if style.bare else _key(drawn, table), gid="key", ha="center", va="bottom"
        )
        key.set(color=MUTED, fontsize=NOTE_SIZE)
        _lay_out(
            figure,
            panels,
            key,
            title,
            style,
            num_columns=num_columns,
            note_room=NOTE_ROOM if raised else 0.0,
            row_label=ROW_LABEL if len(tests) > 1 else 0.0,
        )
    return figure


def _check(table: DataFrame, agreements: Mapping[tuple[str, int], Agreement], limits: float | None) -> None:
    check_drawable(table, COLUMNS)
    if limits is not None and not 0 < limits < math.inf:
        raise ValueError(f"limits must be a positive number, got {limits}")
    finite = table[np.isfinite(table["predicted_change"]) & np.isfinite(table["actual_change"])]
    for key in finite[["method", "test_index"]].drop_duplicates().itertuples(index=False, name=None):
        if key not in agreements:
            raise ValueError(f"no agreement is given for method {key[0]} at test point {key[1]}")


def _draw_row(
    row: Sequence[Axes],
    of_test: DataFrame,
    methods: Sequence[str],
    agreements: Mapping[tuple[str, int], Agreement],
    limits: float | None,
    style: Style,
) -> list[Drawn]:
    """The panels of one test point, on shared limits."""
    test = int(of_test["test_index"].iloc[0])
    points = [Points.from_table(of_test[of_test["method"] == method]) for method in methods]
    shown = row_limits([pairs.actual for pairs in points], [pairs.predicted for pairs in points], limits)
    return [
        draw_panel(axes, pairs, panel_limits, agreements.get((method, test)), style)
        for axes, method, pairs, panel_limits in zip(row, methods, points, shown, strict=True)
    ]


def _num_columns(num_methods: int, num_tests: int) -> int:
    """Methods of one test point wrap evenly: 4 as 2 + 2, 5 as 3 + 2. With more, a column is a method."""
    if num_tests > 1:
        return num_methods
    return math.ceil(num_methods / math.ceil(num_methods / MAX_COLUMNS))


def _share_tick_labels(panels: Sequence[Axes], drawn: Sequence[Drawn], num_columns: int) -> None:
    """Vertical tick labels on the first panel of each row, and on those that have a scale of their own."""
    for place, (axes, panel) in enumerate(zip(panels, drawn, strict=True)):
        if place % num_columns and not panel.own_scale:
            axes.tick_params(labelleft=False)


def _label_rows(grid: Sequence[Sequence[Axes]], tests: Sequence[int]) -> None:
    for row, test in zip(grid, tests, strict=True):
        row[-1].annotate(
            f"Test point {test}",
            (1, 0.5),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            rotation=270,
            va="center",
            gid="row",
        )


def _heading(tests: Sequence[int], selection: str | None) -> str:
    """The test point, unless the rows name several, and how the training points were chosen."""
    parts = [f"Test point {tests[0]}"] if len(tests) == 1 else []
    return ". ".join([*parts, *([selection] if selection else [])])


def _key(drawn: Sequence[Drawn], table: DataFrame) -> str:
    """What line and bars mean."""
    sentences = ["Solid line: predicted = actual"]
    if any(panel.fitted for panel in drawn):
        sentences.append("Dashed line: actual = slope × predicted + intercept, least squares")
    if any(panel.hollow for panel in drawn):
        sentences.append("Hollow: models that left the basin of θ̂, or may have; they are in no statistic")
    if "truth" in table and (table["truth"] == QUADRATIC).all():
        sentences.append("Actual: test losses at the minima of the quadratic around θ̂, not of the risk")
    if any(panel.certificates for panel in drawn):
        sentences.append("Horizontal bars: ± certificate")
    if any(panel.uncertified for panel in drawn):
        sentences.append("No actual change has a certificate")
    if any(panel.stderrs for panel in drawn):
        sentences.append("Vertical bars: ± one standard error over the repeats, truncation not included")
    if any(panel.predicted_certificates for panel in drawn):
        sentences.append("Vertical bars of predicted models: ± their certificate")
    return ". ".join(sentences) + "."


def _lay_out(
    figure: Figure,
    panels: Sequence[Axes],
    key: Text,
    title: Text,
    style: Style,
    *,
    num_columns: int,
    note_room: float,
    row_label: float,
) -> None:
    """Size the figure, place the panels row by row, title and key around them, and label the outer axes."""
    num_rows, side = math.ceil(len(panels) / num_columns), style.side
    width = style.left + num_columns * side + (num_columns - 1) * style.column_gap + style.right + row_label
    lines = textwrap.wrap(key.get_text(), int(width * KEY_CHARACTERS_PER_INCH))
    title_lines = textwrap.wrap(title.get_text(), int(width * TITLE_CHARACTERS_PER_INCH))
    title_room = KEY_MARGIN + TITLE_LINE * len(title_lines) if title_lines else 0.0
    bottom = style.bottom + KEY_LINE * len(lines) + KEY_MARGIN
    row_height = side + style.row_gap + note_room
    height = bottom + num_rows * row_height - style.row_gap + style.top + title_room
    figure.set_size_inches(width, height)
    key.set(text="\n".join(lines), y=KEY_MARGIN / height)
    title.set(text="\n".join(title_lines), y=1 - KEY_MARGIN / height)
    for place, axes in enumerate(panels):
        row, column = divmod(place, num_columns)
        x = style.left + column * (side + style.column_gap)
        y = bottom + (num_rows - 1 - row) * row_height
        axes.set_position((x / width, y / height, side / width, side / height))
        if column == 0:
            axes.set_ylabel("Predicted diff in loss")
            axes.yaxis.set_label_coords((style.label_place - style.left) / side, 0.5)
        if style.bare or place + num_columns >= len(panels):
            axes.set_xlabel("Actual diff in loss")
