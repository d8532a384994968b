"""How an iteration went: its residual, or the norm of its iterates, by step."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from plots.style import styled

LARGEST_SHOWN = 1e30
"""What has diverged further is drawn here."""
NAMED = 6
"""More lines than these get no legend."""


def draw_trace(traces: Mapping[str, Sequence[tuple[int, float]]], title: str, label: str) -> Figure:
    """One line a trace on a logarithmic axis, the width of a column.

    Args:
        traces: (step, value) by name; values that are not finite count as infinitely large, 0 is left out.
        title: of the figure, the method's name.
        label: what the values are.
    """
    with styled():
        figure = Figure(figsize=(3.3, 2.6), layout="constrained")
        axes = figure.subplots()
        for name, trace in traces.items():
            shown = [(step, _shown(value)) for step, value in trace if value != 0]
            steps, values = np.array(shown, dtype=np.float64).reshape(-1, 2).T
            axes.plot(steps, values, linewidth=1.2, label=name)
        axes.set(yscale="log", xlabel="Step")
        # Names are shown as they are, dollars too.
        axes.set_ylabel(label[:1].upper() + label[1:], parse_math=False)
        axes.set_title(title, parse_math=False)
        if len(traces) <= NAMED:
            axes.legend(frameon=False)
    return figure


def _shown(value: float) -> float:
    return min(value, LARGEST_SHOWN) if math.isfinite(value) else LARGEST_SHOWN
