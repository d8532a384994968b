"""How well do predicted changes match the actual ones?

Correlation alone is blind to a forgotten factor and to a shift, so the fitted line stands beside it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from pandas import DataFrame

PROVEN = "proven"
"""In the column `truth`, a model whose certificate has no condition."""
CONTINUED = "continued"
"""There, a model that is no minimum, and that nothing certifies: training went on for some steps."""
QUADRATIC = "quadratic"
"""There, the minimiser of the quadratic around θ̃ without the row, which is a closed form."""
NO_BASIN = (PROVEN, CONTINUED, QUADRATIC)
"""There, models of which it is no question whether they are θ̂'s own minimum."""
OTHER_BASINS = ("left it", "undecided")
"""In the column `truth`, models that are not θ̂'s own minimum, or of which it is not known."""
ROUNDING = 1e-12
"""Values whose spread is below this share of the largest are constant up to rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Statistics of pairs (predicted, actual); NaN where one is undefined."""

    pearson: float
    spearman: float
    slope: float
    """Of the least-squares line actual = slope · predicted + intercept: 1 when the scale is right."""
    intercept: float
    """0 when nothing is shifted, in units of the loss."""
    max_abs_error: float
    """max |actual − predicted|, in units of the loss."""
    points: int
    """All pairs given, finite or not."""


def comparable(table: DataFrame) -> DataFrame:
    """The rows that predictions can be held against: not those of models that left θ̂'s basin, or may have.

    Influence speaks of the minimum that θ̂ becomes. A table without the column `truth` has one minimum.
    """
    return table[~table["truth"].isin(OTHER_BASINS)] if "truth" in table else table


def agreement(predicted: ArrayLike, actual: ArrayLike) -> Agreement:
    """Compare predicted with actual changes, both of shape (points,).

    No pair is left out: one NaN or infinite value makes every statistic NaN, as a method that diverged on
    some points has no agreement. Correlations need both sides to vary, the line needs predictions that vary;
    otherwise they are NaN.

    Raises:
        ValueError: the two are not vectors of one length.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"predicted has shape {x.shape} and actual {y.shape}; "
            "pass two vectors with one entry for each point"
        )
    if len(x) == 0 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return _undefined(len(x))
    # Scaled to 1, so that a method that grew to 1e200 before it was stopped overflows no square.
    x_scale, y_scale = _scale(x), _scale(y)
    slope, intercept = _line(x / x_scale, y / y_scale)
    pearson, spearman = _correlations(x / x_scale, y / y_scale)
    with np.errstate(over="ignore"):
        max_abs_error = float(np.abs(y - x).max())
    return Agreement(
        pearson=pearson,
        spearman=spearman,
        slope=slope / x_scale * y_scale,
        intercept=intercept * y_scale,
        max_abs_error=max_abs_error,
        points=len(x),
    )


def _undefined(points: int) -> Agreement:
    nan = float("nan")
    return Agreement(pearson=nan, spearman=nan, slope=nan, intercept=nan, max_abs_error=nan, points=points)


def _scale(values: Float[np.ndarray, " points"]) -> float:
    return float(np.abs(values).max()) or 1.0


def _varies(values: Float[np.ndarray, " points"]) -> bool:
    return float(np.ptp(values)) > ROUNDING


def _line(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> tuple[float, float]:
    """Slope and intercept of y on x, both of largest absolute value 1."""
    if not _varies(x):
        return float("nan"), float("nan")
    covariance = np.cov(x, y)
    slope = covariance[0, 1] / covariance[0, 0]
    return float(slope), float(y.mean() - slope * x.mean())


def _correlations(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> tuple[float, float]:
    """Pearson's and Spearman's r of x and y, both of largest absolute value 1."""
    if not (_varies(x) and _varies(y)):
        return float("nan"), float("nan")
    # scipy.stats has both, but takes longer to import than a small figure takes to compute.
    ranks = np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())
    return float(np.corrcoef(x, y)[0, 1]), float(ranks[0, 1])
