"""By what factor are scores too large, and are they more than an order?

With noise in the scores, the slope of actual on predicted changes is below the factor that mends them, and
the inverse slope of predicted on actual is above it (Frisch's bounds): slope ≤ factor ≤ slope/r². Shrunk
estimates lie at one end, noisy ones at the other. A factor is named only if 1 lies beyond both.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from score.interval import ranks
from score.rows import correlation

TOLERANCE = 1.3
"""No factor nearer to 1 is named: linearisation, damping and truncation move the slope by as much."""
TAIL = 3.2e-5
"""How often chance may move the slope beyond its margin, on either side: 4 standard errors of many points."""
MOST_SPREAD = 500.0
"""Of a logarithm: its power of e is a number still."""
LEAST_DISTINCT = 20
EVEN = 1e-6
"""Of a step and row: how far from a whole number of steps a place may be; float32 needs it."""
LEAST_RANK_R = 0.5
RANK_GAIN = 0.1


def mending_factors(r: float, slope: float, points: int) -> tuple[float, float]:
    """Between what the factor lies that the scores have to be multiplied by; r and slope positive.

    Student's t has m − 2 degrees of freedom: few points need more standard errors.
    """
    freedom = max(1, points - 2)
    errors = -float(stdtrit(freedom, TAIL))
    spread = min(MOST_SPREAD, errors * math.sqrt(max(0.0, 1 - r * r) / (r * r * freedom)))
    margin = TOLERANCE * math.exp(spread)
    return slope / margin, slope / (r * r) * margin


def likely_factor(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> float:
    """The slope of y on x."""
    u = x - x.mean()
    return float(u @ (y - y.mean())) / float(u @ u)


def is_ranking(row: Float[np.ndarray, " N"]) -> bool:
    """Whether the scores of a test point are numbers of places, evenly spaced, as no measured effect is.

    Places may be missing, as where rows have fallen off.
    """
    distinct = np.unique(row)
    if len(distinct) < max(LEAST_DISTINCT, len(row) // 2):
        return False
    steps = np.diff(distinct)
    step = float(np.median(steps))
    places = (distinct - distinct[0]) / step
    return bool(places[-1] <= 2 * len(row) and (np.abs(places - np.round(places)) <= EVEN * len(row)).all())


def follows_order_alone(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> bool:
    """Whether scores follow the ranks of the truth much better than the truth, and the order very well."""
    places = ranks(y)
    plain, of_ranks = abs(correlation(x, y)), abs(correlation(x, places))
    spearman = abs(correlation(ranks(x), places))
    return min(of_ranks, spearman) >= LEAST_RANK_R and min(of_ranks, spearman) > plain + RANK_GAIN
