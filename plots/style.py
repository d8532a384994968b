"""The look of every figure, and how one is written.

Figures are made from `matplotlib.figure.Figure`, without pyplot and its global state. Matplotlib reads some
settings when an artist is made and others (fonts, embedding) when the file is written, so draw inside
`styled()` and write with `save`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLUE = "#0072B2"
VERMILLION = "#D55E00"
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
"""Okabe & Ito's palette, which readers with any colour vision can tell apart."""
DARK = "#222222"
MUTED = "#666666"

TITLE_SIZE = 8.0
NOTE_SIZE = 7.0
"""Points; the smallest text of a figure."""

STYLE: dict[Any, Any] = {
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
}


@contextmanager
def styled() -> Iterator[None]:
    """These settings on top of matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def save(figure: Figure, target: Path | BytesIO, file_format: str | None = None) -> None:
    """Write a figure as PNG (300 dpi) or PDF, byte for byte the same whenever it is written.

    Args:
        target: a path, whose suffix names the format, or a buffer.
        file_format: "png" or "pdf"; from the suffix when None, and "png" for a buffer.
    """
    name = file_format or (target.suffix.removeprefix(".") if isinstance(target, Path) else "png")
    # A PDF would otherwise carry the time of writing.
    metadata = {"CreationDate": None} if name == "pdf" else None
    with styled():
        figure.savefig(target, format=name, dpi=STYLE["figure.dpi"], metadata=metadata)
