"""How far a rank correlation can move when the truth is known within bounds."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata


@dataclass(frozen=True, kw_only=True, slots=True)
class RankCorrelation:
    """Spearman's r of predictions and truths, and the interval that it cannot leave."""

    value: float
    lowest: float
    """At any truths within their bounds, no two of them equal."""
    highest: float


def spearman_interval(
    predicted: Float[np.ndarray, " m"], actual: Float[np.ndarray, " m"], bound: Float[np.ndarray, " m"]
) -> RankCorrelation:
    """Spearman's r, and the least and the most that it can be at the true values.

    A truth lies within actual ± bound, so its rank is at least 1 more than the number of truths that are
    surely below it, and so on above. Over all orders that keep to these ranks, among which the true one is,
    r is least and most at solutions of an assignment problem.

    Args:
        predicted: finite.
        actual: finite, as found.
        bound: on the error of each; infinite where nothing is known.

    Returns:
        NaN in all three where a side does not vary, or there are fewer than two pairs.
    """
    ranks = rankdata(predicted)
    centred = ranks - ranks.mean()
    count = len(ranks)
    if count < 2 or not centred.any() or not np.ptp(actual):
        return RankCorrelation(value=np.nan, lowest=np.nan, highest=np.nan)
    places = np.arange(1, count + 1) - (count + 1) / 2
    length = float(np.linalg.norm(centred) * np.linalg.norm(places))
    first, last = _possible_ranks(actual, bound)
    columns = np.arange(1, count + 1)
    gain = centred[:, None] * places[None, :]
    gain = np.where((columns < first[:, None]) | (columns > last[:, None]), -np.inf, gain)
    found = rankdata(actual)
    found = found - found.mean()
    return RankCorrelation(
        value=float(centred @ found / (np.linalg.norm(centred) * np.linalg.norm(found))),
        lowest=-_most(np.where(np.isinf(gain), -np.inf, -gain)) / length,
        highest=_most(gain) / length,
    )


def _possible_ranks(
    actual: Float[np.ndarray, " m"], bound: Float[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """The first and the last rank that each truth can have, from 1."""
    low, high = np.sort(actual - bound), np.sort(actual + bound)
    surely_below = np.searchsorted(high, actual - bound, side="left")
    surely_above = len(actual) - np.searchsorted(low, actual + bound, side="right")
    return 1 + surely_below, len(actual) - surely_above


def _most(gain: Float[np.ndarray, "m m"]) -> float:
    """The largest sum of one entry in each row and column."""
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return float(gain[rows, columns].sum())
