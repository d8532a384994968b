"""Agreement of predicted and actual changes against what a sweep varied."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from plots.cost import MARKERS
from plots.style import MUTED, NOTE_SIZE, styled

MEASURES = {"pearson": "Pearson r", "slope": "Slope of actual on predicted"}
IDEAL = {"slope": 1.0}
"""What a measure is where predictions are right; r ends there by itself."""
DECADES = 10.0
"""Numbers that reach over more than this factor, all above 0, get a logarithmic axis."""


def draw_sweep(table: DataFrame, swept: list[str], note: str = "") -> Figure:
    """One panel a measure: a line for each method, other key and test point against the first key.

    Args:
        table: one row per run, test point and method, with the columns `method`, `test_index`, the keys swept
            over and those of `MEASURES`.
        swept: the keys, the one for the horizontal axis first.
        note: a line above the panels: which test points all runs explain.
    """
    first, *others = swept
    with styled():
        figure = Figure(figsize=(0.4 + 3.3 * len(MEASURES), 3.2), layout="constrained")
        panels = figure.subplots(1, len(MEASURES))
        for axes, (column, label) in zip(panels, MEASURES.items(), strict=True):
            for index, (name, rows) in enumerate(_lines(table, first, others).items()):
                marker = MARKERS[index % len(MARKERS)]
                axes.plot(first, column, data=rows, marker=marker, markersize=4.0, linewidth=1.2, label=name)
            if column in IDEAL:
                axes.axhline(IDEAL[column], color=MUTED, linewidth=0.8, linestyle="--", zorder=1, gid="ideal")
            axes.set(xlabel=first, ylabel=label)
            _scale(axes, table[first])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        if note:
            figure.suptitle(note, fontsize=NOTE_SIZE, color=MUTED)
    return figure


def _lines(table: DataFrame, first: str, others: list[str]) -> dict[str, DataFrame]:
    """The rows of each line, by its name: none joins different test points, unless they are the axis."""
    several = table["test_index"].nunique() > 1 and "test_index" not in (first, *others)
    by = ["method", *others, *(["test_index"] if several else [])]
    found = {}
    for values, rows in table.groupby(by, sort=False):
        words = [str(values[0]), *(f"{key}={value}" for key, value in zip(by[1:], values[1:], strict=True))]
        found[" ".join(words)] = rows
    return found


def _scale(axes: Axes, values: "pd.Series[float]") -> None:
    if pd.api.types.is_numeric_dtype(values) and values.min() > 0 and values.max() > DECADES * values.min():
        axes.set_xscale("log")
