"""The figure of an iteration shows what was recorded, also when it overflowed."""

import math

import numpy as np
from matplotlib.axes import Axes

from plots.trace import LARGEST_SHOWN, draw_trace


def values(axes: Axes, line: int) -> list[float]:
    return [float(value) for value in np.asarray(axes.lines[line].get_ydata())]


def test_every_recorded_step_is_drawn_and_overflow_stands_at_the_top() -> None:
    traces = {"a": [(1, 1.0), (2, 1e-3), (3, 0.0)], "b": [(1, 2.0), (2, 1e200), (3, math.inf), (4, math.nan)]}
    figure = draw_trace(traces, title="cg", label="relative residual")
    axes = figure.axes[0]
    assert values(axes, 0) == [1.0, 1e-3]
    assert values(axes, 1) == [2.0, LARGEST_SHOWN, LARGEST_SHOWN, LARGEST_SHOWN]
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "Relative residual"
    assert axes.get_title() == "cg"


def test_many_lines_need_no_legend() -> None:
    traces = {str(index): [(1, 1.0), (2, 0.5)] for index in range(10)}
    assert draw_trace(traces, title="cg", label="x").axes[0].get_legend() is None
