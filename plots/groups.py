"""Groups of training rows left out: predicted against actual changes, and agreement by size."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from pandas import DataFrame

from plots.agreement import agreement
from plots.numbers import format_r, format_slope
from plots.style import DARK, MUTED, NOTE_SIZE, PALETTE, styled
from plots.tables import check_drawable

COLUMNS = ("method", "test_index", "size", "predicted_change", "actual_change", "certificate")
MEASURES = {"pearson": "Pearson r", "slope": "Slope of actual on predicted"}
BINS = 8
"""At most so many bins of like sizes."""
FEWEST = 4
"""Groups that a bin must have for r and slope to say anything."""

LETTERS_PER_INCH = 16
"""Of a note above the panels."""

MOST_ACROSS = 3
"""Panels beside each other, where they are of one method."""
KEY_COLUMNS = 2
"""Of the key below the curves: names of methods with their test points are long."""


def draw_groups(table: DataFrame, titles: Mapping[str, str], selection: str = "") -> Figure:
    """A panel per method and test point; the colour of a group is its size, where sizes differ.

    Test points are rows and methods columns; the test points of a single method stand beside each other.
    Bars are certificates, vertical ones those of predictions, of which a note says that they are there; the
    dashed line is actual = slope × predicted + intercept.

    Args:
        table: one row per method, test point and group, with at least `COLUMNS`.
        titles: a panel's title by method.
        selection: how the groups were chosen.

    Raises:
        ValueError: a column or every row is missing.
    """
    check_drawable(table, COLUMNS)
    methods, tests = table["method"].unique().tolist(), table["test_index"].unique().tolist()
    sizes = table["size"].to_numpy(dtype=np.float64)
    shown = [(test, method) for test in tests for method in methods]
    across = len(methods) if len(methods) > 1 else min(MOST_ACROSS, len(tests))
    down = -(-len(shown) // across)
    with styled():
        figure = Figure(figsize=(0.9 + 2.6 * across, 0.5 + 2.5 * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False)
        for place, (axes, (test, method)) in enumerate(zip(panels.flat, shown, strict=False)):
            chosen = table[(table["method"] == method) & (table["test_index"] == test)]
            points = _draw_panel(axes, chosen, (float(sizes.min()), float(sizes.max())))
            title = titles.get(method, method)
            which = "" if len(methods) > 1 or len(tests) == 1 else f", test point {test}"
            axes.set_title(f"{title}{which}", parse_math=False)
            if place % across == 0:
                which = f"\ntest point {test}" if len(methods) > 1 or len(tests) == 1 else ""
                axes.set_ylabel(f"Predicted diff in loss{which}")
            if place + across >= len(shown):
                axes.set_xlabel("Actual diff in loss")
        for axes in panels.flat[len(shown) :]:
            axes.set_axis_off()
        if several_sizes(table):
            bar = figure.colorbar(points, ax=panels.ravel().tolist(), label="Rows in the group", aspect=40)
            bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        note = ". ".join(words for words in (selection, _bars(table)) if words)
        if note:
            width = int(figure.get_size_inches()[0] * LETTERS_PER_INCH)
            figure.suptitle(fill(note, width), fontsize=NOTE_SIZE, color=MUTED)
    return figure


def several_sizes(table: DataFrame) -> bool:
    """Whether groups differ in size: else a curve over sizes is one point, and a colour says nothing."""
    return table["size"].nunique() > 1


def draw_agreement_by_size(table: DataFrame, titles: Mapping[str, str]) -> Figure:
    """r and slope of each method and test point against the size of the groups, by bins of like size.

    Args:
        table: as of `draw_groups`.
        titles: a method's name in the key.

    Raises:
        ValueError: a column or every row is missing.
    """
    found = agreement_by_size(table)
    several = table["test_index"].nunique() > 1
    with styled():
        curves = found[["method", "test_index"]].drop_duplicates()
        key_rows = -(-len(curves) // KEY_COLUMNS)
        figure = Figure(figsize=(7.0, 2.9 + 0.2 * key_rows), layout="constrained")
        panels = figure.subplots(1, len(MEASURES))
        for axes, (column, label) in zip(panels, MEASURES.items(), strict=True):
            for (method, test), rows in found.groupby(["method", "test_index"], sort=False):
                name = titles.get(str(method), str(method)) + (f", test point {test}" if several else "")
                axes.plot("size", column, data=rows, marker="o", markersize=3.5, linewidth=1.0, label=name)
            axes.set(xlabel="Rows in the group, mean of a bin", ylabel=label, xscale="log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=KEY_COLUMNS, frameon=False)
    return figure


def agreement_by_size(table: DataFrame) -> DataFrame:
    """r and slope of each method and test point within bins of like size.

    Bins hold about as many groups each. Groups of one size are in one bin; a bin of few groups is left out.

    Returns:
        The columns method, test_index, size (the mean of the bin), groups, pearson and slope.
    """
    rows = []
    for (method, test), chosen in table.groupby(["method", "test_index"], sort=False):
        bins = max(1, min(BINS, len(chosen) // FEWEST))
        smaller = chosen["size"].rank(method="min") - 1
        for _, part in chosen.groupby(smaller * bins // len(chosen)):
            if len(part) < min(FEWEST, len(chosen)):
                continue
            fit = agreement(part["predicted_change"].to_numpy(), part["actual_change"].to_numpy())
            rows.append((method, test, part["size"].mean(), len(part), fit.pearson, fit.slope))
    return DataFrame(rows, columns=["method", "test_index", "size", "groups", "pearson", "slope"])


def _draw_panel(axes: Axes, chosen: DataFrame, sizes: tuple[float, float]) -> PathCollection:
    actual, predicted, certificate = (
        chosen[name].to_numpy(dtype=np.float64)
        for name in ("actual_change", "predicted_change", "certificate")
    )
    colours: dict[str, Any] = {"color": PALETTE[0]}
    if sizes[0] < sizes[1]:
        colours = {"c": chosen["size"].to_numpy(), "cmap": "viridis", "vmin": sizes[0], "vmax": sizes[1]}
    points = axes.scatter(actual, predicted, s=7, linewidths=0, zorder=3, **colours)
    points.set_gid("points")
    bars: dict[str, Any] = {"fmt": "none", "ecolor": MUTED, "elinewidth": 0.5, "zorder": 2}
    axes.errorbar(actual, predicted, xerr=certificate, **bars)
    if "predicted_certificate" in chosen.columns:
        limits = axes.axis()
        own = chosen["predicted_certificate"].to_numpy(np.float64)
        axes.errorbar(actual, predicted, yerr=own, alpha=0.35, **bars)
        # A certificate of a large step may be many times the axis.
        axes.axis(limits)
    axes.axline((0, 0), slope=1, color=MUTED, linewidth=0.8, zorder=1)
    fit = agreement(predicted, actual)
    if np.isfinite(fit.slope) and fit.slope:
        start = (fit.intercept, 0.0)
        axes.axline(start, slope=1 / fit.slope, color=DARK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.text(
        0.96,
        0.04,
        f"r = {format_r(fit.pearson)}\nslope = {format_slope(fit.slope)}\n{fit.points:,} groups",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        zorder=4,
        gid="statistics",
    )
    return points


def _bars(table: DataFrame) -> str:
    """What vertical bars are, where there are any."""
    if "predicted_certificate" not in table.columns:
        return ""
    own = table["predicted_certificate"].to_numpy(np.float64)
    return "Vertical bars of predicted changes: ± their certificate" if np.isfinite(own).any() else ""
