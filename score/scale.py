"""By what factor are scores too large, and are they more than an order?

With noise in the scores, the slope of actual on predicted changes is below the factor that mends them, and
the inverse slope of predicted on actual is above it (Frisch's bounds): slope ≤ factor ≤ slope/r². Shrunk
estimates lie at one end, noisy ones at the other. A factor is named only if 1 lies beyond both, and on the
same side of the typical ratio of scores and truth: noise that multiplies makes a few scores far too large,
which move slopes alone.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from score.interval import ranks
from score.rows import correlation, fisher_z

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
RANK_GAIN_BY_CHANCE = 3.0
"""Standard errors 1/√m of z = arctanh r."""
RATIO_ERRORS = 2.25
"""Standard errors of the typical ratio."""
ROUNDS = 3


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


def typical_ratio(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> tuple[float, float, float]:
    """How many times too large scores x of truth y are, less a constant, and between what that lies.

    The median of (x − b)/y with the weights |y|, which is the line through b of least absolute deviations: as
    much of the truth lies above it as below. The ends are the quantiles that a count of heads reaches by
    chance. y varies.
    """
    x, y = x[y != 0], y[y != 0]
    weights = np.abs(y) / np.abs(y).sum()
    chance = RATIO_ERRORS / 2 * math.sqrt(float(weights @ weights))
    constant = 0.0
    for _ in range(ROUNDS):
        ratios = (x - constant) / y
        order = np.argsort(ratios)
        below = np.cumsum(weights[order])
        low, typical, high = (
            float(ratios[order][min(len(y) - 1, int(np.searchsorted(below, share)))])
            for share in (0.5 - chance, 0.5, 0.5 + chance)
        )
        constant = float(np.median(x - typical * y))
    return (low, typical, high) if chance < 0.5 else (-math.inf, typical, math.inf)


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
    by_order = min(of_ranks, abs(correlation(ranks(x), places)))
    by_chance = fisher_z(plain) + RANK_GAIN_BY_CHANCE / math.sqrt(len(x))
    return by_order >= LEAST_RANK_R and by_order > plain + RANK_GAIN and fisher_z(by_order) > by_chance
