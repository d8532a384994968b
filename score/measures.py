"""How well predicted changes of one test point agree with the actual ones, each figure with its interval."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from score.interval import (
    UNDEFINED,
    Interval,
    largest_error_interval,
    line_intervals,
    overlap_interval,
    pearson_interval,
    spearman_interval,
)
from score.truth import GroupTruth

TOP_SHARE = 10
"""One point in so many counts as a top point, and at most `TOP_MOST`."""
TOP_MOST = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Measures:
    """Agreement over the points that were left out; x is the prediction, y the actual change."""

    pearson: Interval
    spearman: Interval
    slope: Interval
    """Of the least-squares line y = slope · x + intercept: 1 when the scale is right."""
    intercept: Interval
    max_abs_error: Interval
    """max |y − x|, in units of the loss."""
    decided: Interval
    """Share of points whose |y − x| exceeds the certificate: there the prediction is wrong for sure. On the
    others nobody can tell. As it is a statement about the certificates, its interval is a point."""
    top_overlap: Interval
    """Share of the `top_k` largest |y| that are among the `top_k` largest |x|."""
    top_k: int
    points: int
    lds: Interval | None = None
    """The linear datamodeling score: Spearman's r of predicted and actual changes of models of halves (Park
    et al. 2023, "TRAK", section 2); None where there are no such models."""


def measure(
    predicted: Float[np.ndarray, " m"],
    actual: Float[np.ndarray, " m"],
    certificate: Float[np.ndarray, " m"],
    lds: Interval | None = None,
) -> Measures:
    """Compare predictions with actual changes, finite all; certificates may be infinite.

    Correlations need both sides to vary, the line needs predictions that vary; otherwise they are NaN.
    """
    x, y, e = predicted, actual, certificate
    k = max(1, min(TOP_MOST, len(x) // TOP_SHARE))
    known = np.isfinite(e).all()
    # What is not bounded by anything moves every statistic as far as it goes.
    e = e if known else np.full_like(e, 0.0)
    slope, intercept = line_intervals(x, y, e)
    found = {
        "pearson": pearson_interval(x, y, e),
        "spearman": spearman_interval(x, y, e),
        "slope": slope,
        "intercept": intercept,
        "max_abs_error": largest_error_interval(x, y, e),
        "top_overlap": overlap_interval(x, y, e, k),
    }
    if not known:
        found = {name: _unbounded(name, interval) for name, interval in found.items()}
    share = float((np.abs(y - x) > certificate).mean())
    return Measures(**found, decided=Interval(share, share, share), top_k=k, points=len(x), lds=lds)


def datamodeling_score(scores: Float[np.ndarray, " n"], halves: GroupTruth) -> Interval | None:
    """Spearman's r over the models: what each leaves out is predicted by the sum of its scores.

    Args:
        scores: predicted changes of every training point; NaN where there is none.
        halves: the models.

    None where a group has a point without a score.
    """
    predicted = np.array([scores[rows].sum() for rows in halves.rows])
    if not np.isfinite(predicted).all():
        return None
    known = np.isfinite(halves.certificate).all()
    e = halves.certificate if known else np.zeros_like(halves.certificate)
    found = spearman_interval(predicted, halves.actual_change, e)
    return found if known else _unbounded("spearman", found)


def _unbounded(name: str, interval: Interval) -> Interval:
    ends = {"pearson": (-1.0, 1.0), "spearman": (-1.0, 1.0), "top_overlap": (0.0, 1.0)}
    low, high = ends.get(name, (-math.inf, math.inf))
    return interval if interval is UNDEFINED else Interval(interval.value, low, high)
