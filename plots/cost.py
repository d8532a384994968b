"""Error against cost of ways to solve for the same thing: the lower left corner is what to use."""

from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import DataFrame

from plots.style import MUTED, NOTE_SIZE, styled

MARKERS = "osD^vPX*<>hpd8"
LOWEST = 1e-12
"""Errors below are drawn here: they are rounding, and a logarithmic axis has no 0."""

LETTERS_PER_INCH = 11
"""Of a name in the key."""


def draw_cost(
    table: DataFrame,
    errors: Mapping[str, str],
    good: Mapping[str, float] | None = None,
    note: str = "",
    hollow: Collection[str] = (),
) -> Figure:
    """One panel an error: each family of settings is a line from cheap to dear.

    Args:
        table: a row for each setting, with the columns `family`, `seconds` and those that `errors` names;
            families keep the order of the table. Rows whose error is NaN are left out.
        errors: axis label by column.
        good: by column, where a dashed line says "good enough".
        note: a line above the panels.
        hollow: families drawn with dashed lines and open markers, to be told from the others at a glance.
    """
    with styled():
        # The key stands beside the panels, as wide as its longest name.
        key = 0.6 + max((len(str(name)) for name in table["family"]), default=0) / LETTERS_PER_INCH
        figure = Figure(figsize=(0.4 + 3.3 * len(errors) + key, 3.6), layout="constrained")
        panels = figure.subplots(1, len(errors), squeeze=False)[0]
        for axes, (column, label) in zip(panels, errors.items(), strict=True):
            _panel(axes, table, column, hollow)
            axes.set(xscale="log", yscale="log", xlabel="Seconds", ylabel=label)
            if good and column in good:
                axes.axhline(good[column], color=MUTED, linewidth=0.8, linestyle="--")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False)
        if note:
            figure.suptitle(note, fontsize=NOTE_SIZE, color=MUTED)
    return figure


def _panel(axes: Axes, table: DataFrame, column: str, hollow: Collection[str]) -> None:
    for index, (family, rows) in enumerate(table.groupby("family", sort=False)):
        drawn = rows.dropna(subset=[column]).sort_values(column)
        axes.plot(
            drawn["seconds"].to_numpy(),
            np.maximum(drawn[column].to_numpy(dtype=np.float64), LOWEST),
            marker=MARKERS[index % len(MARKERS)],
            markersize=4.5,
            markerfacecolor="white" if family in hollow else None,
            linestyle="--" if family in hollow else "-",
            linewidth=1.0,
            label=str(family),
        )
