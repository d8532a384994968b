"""The look of every figure, and how one is written.

Figures are made from `matplotlib.figure.Figure`, without pyplot and its global state. Matplotlib reads some
settings when an artist is made and others (ticks, embedding) when the file is written, so draw inside
`styled(style)` and write with `save`, given the same style.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

BLUE = "#0072B2"
VERMILLION = "#D55E00"
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
"""Okabe & Ito's palette, which readers with any colour vision can tell apart."""
DARK = "#222222"
MUTED = "#666666"

TITLE_SIZE = 8.0
NOTE_SIZE = 7.0
"""Points; the smallest text of a figure."""

SETTINGS: dict[Any, Any] = {
    "figure.dpi": 300,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Shipped with matplotlib, so a figure looks alike on every machine.
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "text.color": DARK,
    "axes.labelcolor": DARK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": DARK,
    "ytick.labelcolor": DARK,
    "axes.facecolor": "white",
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    # TrueType: text stays text in the PDF, and journals refuse Type 3.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    # Text stays text, and the names of parts do not change from one writing to the next.
    "svg.fonttype": "none",
    "svg.hashsalt": "leave-one-out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """A look of the scatter: matplotlib's settings, and what it has no settings for. Lengths in inches."""

    settings: dict[Any, Any]
    """For matplotlib's rcParams."""
    bare: bool
    """Points, line, frame and labels alone, as in the paper: no statistics, no error bars, no key; three
    ticks an axis, and those of the vertical axis labelled on the first panel of a row."""
    side: float
    """Of a panel's square frame."""
    left: float
    right: float
    top: float
    bottom: float
    column_gap: float
    row_gap: float
    label_place: float
    """Of the vertical axis's label, from the figure's left edge."""
    marker_inches: float
    """Diameter of a marker, which stands for one training example."""
    marker: Mapping[str, Any]
    """Colour and such of the points inside."""
    identity: Mapping[str, Any]
    """Of the line predicted = actual."""


# Fixed lengths, so that panels have one size in every figure. One panel with its margins is 3.3 wide, as wide
# as a column of a two-column paper.
DEFAULT = Style(
    settings=SETTINGS,
    bare=False,
    side=2.5,
    left=0.64,
    right=0.16,
    top=0.27,
    bottom=0.43,
    column_gap=0.54,
    row_gap=0.58,
    label_place=0.14,
    marker_inches=0.05,
    marker={"color": BLUE, "alpha": 0.45, "linewidths": 0},
    identity={"color": MUTED, "linewidth": 0.8},
)

# The paper's figure is 9 × 3 inches with labels of 16 points, markers of 6 and seaborn's style "white". Here
# all of it is scaled by 3/4, so that three panels are 6.75 wide, the text of a page with two columns.
PAPER = Style(
    settings=SETTINGS
    | {
        "axes.titlesize": 12.0,
        "axes.labelsize": 12.0,
        "text.color": "black",
        "axes.labelcolor": "black",
        "axes.edgecolor": "black",
        "axes.linewidth": 0.9,
        "xtick.labelcolor": "black",
        "ytick.labelcolor": "black",
        "xtick.major.size": 0.0,
        "ytick.major.size": 0.0,
        "axes.grid": False,
    },
    bare=True,
    side=1.63,
    left=0.70,
    right=0.12,
    top=0.32,
    bottom=0.41,
    column_gap=0.52,
    row_gap=0.8,
    label_place=0.2,
    marker_inches=4.5 / 72,
    marker={"color": "#4C72B0", "linewidths": 0},
    identity={"color": "black", "alpha": 0.2, "linewidth": 1.3},
)

STYLES = {"default": DEFAULT, "paper": PAPER}
"""By the name that `plot.style` has for it."""


@contextmanager
def styled(style: Style = DEFAULT) -> Iterator[None]:
    """Its settings on top of matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style.settings)
        yield


def minus(number: str) -> str:
    """A formatted number with a minus sign instead of the hyphen."""
    return number.replace("-", "−")


def save(
    figure: Figure, target: Path | BytesIO, file_format: str | None = None, style: Style = DEFAULT
) -> None:
    """Write a figure as PNG (300 dpi), PDF or SVG, byte for byte the same whenever it is written.

    Args:
        target: a path, whose suffix names the format, or a buffer.
        file_format: "png", "pdf" or "svg"; from the suffix when None, and "png" for a buffer.
        style: the one it was drawn in.
    """
    name = file_format or (target.suffix.removeprefix(".") if isinstance(target, Path) else "png")
    # These would otherwise carry the time of writing.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(name)
    with styled(style):
        figure.savefig(target, format=name, dpi=style.settings["figure.dpi"], metadata=metadata)
