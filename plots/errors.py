"""How far predictions are from the truth, and how well the truth is known.

|actual − predicted| of each method and the certificates of the actual changes stand below each other on one
logarithmic axis. What lies right of the largest certificate is the method's own error.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator
from pandas import DataFrame

from plots.style import BLUE, MUTED, NOTE_SIZE, TITLE_SIZE, VERMILLION, styled
from plots.tables import check_drawable

COLUMNS = ("method", "test_index", "train_index", "predicted_change", "actual_change", "certificate")
CERTIFICATES = "Certificates"
MAX_COLUMNS = 3
"""Panels side by side; more test points continue in the next row."""
BINS_PER_DECADE = 5
SHOWN_DECADES = (-30.0, 30.0)
"""What is smaller or has diverged further is drawn at the end of these."""
MAX_STEPS = 5
"""From tick to tick."""
NOTHING_SHOWN = (-12.0, 0.0)
"""Decades of the axis when nothing on it is above 0."""

# Inches. One panel is as wide as a column of a paper, several together as wide as its page.
COLUMN, PAGE = 3.3, 6.75
BARS, BAND_TITLE, BAND_NOTE = 0.34, 0.18, 0.12
ROW_TEXTS, LABEL, KEY_LINE = 0.58, 0.25, 0.125
"""Room for title and ticks of a row of panels, the label below all, and a line of the key."""
ROW_GAP = 0.08
KEY_CHARACTERS_PER_INCH = 17

INDENT = 0.02
"""Of a band's title, as a share of the panel's width."""
SHADE = "#E6E6E6"
AXIS = "|actual − predicted|; certificate"
SHORT_AXIS = "|Error|; certificate"
KEY = (
    "No actual change errs by more than the shaded range, so errors to its right are the method's. "
    "Each histogram is scaled to its fullest bin."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """One row of a panel: what a logarithmic axis can show of some sizes, and what it cannot in words."""

    title: str
    shown: Float[np.ndarray, " points"]
    """Finite and above 0."""
    largest: float
    """Of all, infinite if one is not finite; 0 if there are none."""
    note: str

    @classmethod
    def of(cls, title: str, sizes: Float[np.ndarray, " points"]) -> "Band":
        finite = sizes[np.isfinite(sizes)]
        counts = {
            "exactly 0": int((finite == 0).sum()),
            "not finite": len(sizes) - len(finite),
        }
        note = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        largest = float(finite.max(initial=0.0)) if len(finite) == len(sizes) else math.inf
        return cls(title=title, shown=finite[finite > 0], largest=largest, note=note)


def draw_errors(table: DataFrame, titles: Mapping[str, str]) -> Figure:
    """One panel per test point, with a histogram for each method and one of the certificates below them.

    All panels share the axis of sizes. Each histogram is scaled to its own fullest bin.

    Args:
        table: one row per method × test point × training point, with at least `COLUMNS`. Changes and
            certificates are in units of the test loss, which has no L2.
        titles: what a method is called; a method without one is called by its name.

    Returns:
        The figure, to be written with `plots.style.save`.

    Raises:
        ValueError: a column or every row is missing.
    """
    check_drawable(table, COLUMNS)
    tests = table["test_index"].unique().tolist()
    panels = [_bands(table[table["test_index"] == test], titles) for test in tests]
    edges = _edges(panels)
    noted = any(band.note for bands in panels for band in bands)
    band_height = BARS + BAND_TITLE + (BAND_NOTE if noted else 0.0)
    with styled():
        figure, places = _lay_out(len(panels), max(map(len, panels)) * band_height)
        for axes, bands, test in zip(places, panels, tests, strict=True):
            _draw_panel(axes, bands, edges, band_height)
            axes.set_title(f"Test point {test}", pad=3)
    return figure


def _bands(table: DataFrame, titles: Mapping[str, str]) -> list[Band]:
    """A band for each method in the order of the table, then that of the certificates."""
    bands = []
    for method, rows in table.groupby("method", sort=False):
        actual, predicted = (
            rows[name].to_numpy(np.float64) for name in ("actual_change", "predicted_change")
        )
        with np.errstate(over="ignore", invalid="ignore"):
            bands.append(Band.of(titles.get(str(method), str(method)), np.abs(actual - predicted)))
    # Several methods may have a training point in common, which has one certificate.
    certificates = table.drop_duplicates("train_index")["certificate"].to_numpy(np.float64)
    return [*bands, Band.of(CERTIFICATES, certificates)]


def _edges(panels: Sequence[Sequence[Band]]) -> Float[np.ndarray, " edges"]:
    """Edges of the bins as powers of ten, from a whole decade to a whole decade, that hold every size."""
    exponents = np.concatenate([_exponents(band.shown) for bands in panels for band in bands])
    if not len(exponents):
        exponents = np.array(NOTHING_SHOWN)
    low = math.floor(exponents.min())
    decades = max(math.ceil(exponents.max()) - low, 1)
    return np.linspace(low, low + decades, decades * BINS_PER_DECADE + 1)


def _exponents(sizes: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    exponents: Float[np.ndarray, " points"] = np.log10(sizes)
    return exponents.clip(*SHOWN_DECADES)


def _draw_panel(axes: Axes, bands: Sequence[Band], edges: Float[np.ndarray, " edges"], height: float) -> None:
    """The bands of one test point from top to bottom, the vertical axis in inches."""
    axes.set(xscale="log", xlim=(10 ** edges[0], 10 ** edges[-1]), ylim=(0, len(bands) * height))
    low, high = round(edges[0]), round(edges[-1])
    axes.set_xticks([10.0**decade for decade in range(low, high + 1, math.ceil((high - low) / MAX_STEPS))])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks([])
    certificates = bands[-1]
    if certificates.largest > 0:
        shade = axes.axvspan(10 ** edges[0], min(certificates.largest, 10 ** edges[-1]), color=SHADE, lw=0)
        shade.set(gid="certified", zorder=0)
    for place, band in enumerate(bands):
        base = (len(bands) - 1 - place) * height
        color = MUTED if band is certificates else BLUE
        counts = np.histogram(_exponents(band.shown), edges)[0]
        bars = BARS * counts / max(counts.max(), 1)
        axes.stairs(base + bars, 10**edges, baseline=base, fill=True, color=color, gid=band.title)
        axes.axhline(base, color=MUTED, linewidth=0.5)
        _write(axes, band, base + height)


def _write(axes: Axes, band: Band, top: float) -> None:
    """Title and note of a band in its upper left corner; a long title makes no panel narrower."""
    place = axes.get_yaxis_transform()
    title = axes.text(INDENT, top - 0.04, band.title, transform=place, va="top", parse_math=False)
    title.set(fontsize=TITLE_SIZE, gid="band", in_layout=False)
    note = axes.text(INDENT, top - BAND_TITLE, band.note, transform=place, va="top", gid="note")
    note.set(color=VERMILLION, fontsize=NOTE_SIZE, in_layout=False)


def _lay_out(num_panels: int, panel_height: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each test point, and below them what they show."""
    across = min(num_panels, MAX_COLUMNS)
    down = math.ceil(num_panels / across)
    width = COLUMN if num_panels == 1 else PAGE
    key = textwrap.wrap(KEY, int(width * KEY_CHARACTERS_PER_INCH))
    height = down * (panel_height + ROW_TEXTS) + LABEL + KEY_LINE * len(key)
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=ROW_GAP))
    panels = figure.subplots(down, across, squeeze=False).flatten().tolist()
    for axes in panels[num_panels:]:
        axes.remove()
    for axes in panels[max(0, num_panels - across) : num_panels]:
        axes.set_xlabel(AXIS if num_panels < MAX_COLUMNS else SHORT_AXIS)
    figure.supxlabel("\n".join(key), color=MUTED, fontsize=NOTE_SIZE, gid="key")
    return figure, panels[:num_panels]
