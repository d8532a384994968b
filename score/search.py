"""The simplest change that makes scores agree with the truth.

Looked for in this order: layout, order of rows, sign, ranks, factor, L2. Each step keeps what it was given
unless another reading is better by a margin that noise does not reach, so honest scores, however noisy, come
out as they went in.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from score import faults
from score.faults import Fault
from score.interval import ranks
from score.l2 import mend_l2
from score.predicted import Laid, ScoresError, select
from score.rows import LEAST_POINTS, LEAST_R, RowMap, correlation, find_rows, pooled_correlation
from score.scale import (
    TOLERANCE,
    follows_order_alone,
    is_ranking,
    likely_factor,
    mending_factors,
    typical_ratio,
)
from score.truth import PointTruth, Truth

CERTAIN = 6.0
"""Standard errors that a correlation has to differ from 0 by, before anything is said of its scores: 1/√m of
r, or 1/√(m − 3) of Fisher's z = arctanh r of the ranks, which few points can reach."""
FEWEST = 36
"""Of points: no r of fewer differs from 0 by `CERTAIN`/√m."""
LEAST_MOVED = 20
"""Points that ranks have to agree on in another order than the given one, the best of very many."""


@dataclass(frozen=True, kw_only=True)
class _Aligned:
    """Scores of the left-out points beside their truth, and of all training points where there are all."""

    truths: tuple[PointTruth, ...]
    predicted: tuple[Float[np.ndarray, " _"], ...]
    every: tuple[Float[np.ndarray, " _"], ...] | None
    """NaN where a training point has no score."""


@dataclass(frozen=True, kw_only=True)
class Mended(_Aligned):
    """What is wrong, and the scores with that mended, for the points of each test point that have one."""

    faults: tuple[Fault, ...]
    too_few: bool = False
    """Whether more points could name a fault, or rule one out, where these can do neither."""


def find_faults(laid: Laid, truth: Truth) -> Mended:
    """Name what is wrong and mend it.

    Raises:
        ScoresError: there are more training points than the truth has, in no order that follows it.
    """
    truths = [truth.points[target] for target in laid.test_points]
    found: list[Fault] = [faults.TRANSPOSE] if laid.transposed else []
    laid, rows_faults, aligned = _in_order(laid, truths, truth)
    found += rows_faults
    sign, too_few = _sign(aligned, LEAST_MOVED if rows_faults else LEAST_POINTS)
    if sign == 0:
        return _mended([], aligned, 1.0, too_few)
    if sign < 0:
        found.append(faults.SIGN)
    turned = [sign * x for x in aligned.predicted]
    if _only_ranks(aligned, turned):
        return _mended([*found, faults.RANKS_ONLY], aligned, float(sign))
    width = truth.num_train or laid.rows.shape[1]
    fault, factor, too_few = _factor(turned, aligned.truths, width)
    found += [] if fault is None else [fault]
    scaled = _mended(found, aligned, sign * factor, too_few)
    if scaled.every is None:
        return scaled
    more, every = mend_l2(list(scaled.predicted), scaled.every, aligned.truths, laid.test_points, truth)
    predicted = tuple(row[point.train_index] for row, point in zip(every, aligned.truths, strict=True))
    return replace(scaled, faults=(*found, *more), predicted=predicted, every=tuple(every))


def _mended(found: Sequence[Fault], aligned: _Aligned, factor: float, too_few: bool = False) -> Mended:
    return Mended(
        faults=tuple(found),
        truths=aligned.truths,
        predicted=tuple(factor * x for x in aligned.predicted),
        every=None if aligned.every is None else tuple(factor * row for row in aligned.every),
        too_few=too_few,
    )


def _in_order(laid: Laid, truths: Sequence[PointTruth], truth: Truth) -> tuple[Laid, list[Fault], _Aligned]:
    """Scores by training point, in the order of rows that follows the truth."""
    if laid.train_index is not None:
        chosen = tuple(select(laid, row, point.train_index) for row, point in enumerate(truths))
        return laid, [], _Aligned(truths=tuple(truths), predicted=chosen, every=None)
    width = laid.rows.shape[1]
    num_train = truth.num_train or width
    labels = truth.labels if truth.labels is not None and len(truth.labels) == num_train else None
    order = find_rows(list(laid.rows), truths, num_train, labels)
    found, layout = [], laid
    if len(laid.rows) > 1:
        # Test points one after the other for each training point: the right shape, the wrong order.
        turned = np.ascontiguousarray(laid.rows.reshape(width, len(laid.rows)).T)
        other = replace(laid, rows=turned, transposed=True)
        again = find_rows(list(other.rows), truths, num_train, labels)
        if _strength(other, truths, again) > _strength(laid, truths, order) + LEAST_R:
            found, layout, order = [faults.TRANSPOSE], other, again
    if width > num_train and order.is_identity:
        raise ScoresError(
            f"has scores of {width:,} training points, the truth is of {num_train:,}; at no offset do they "
            "follow it. Score the same training points, in the same order"
        )
    if order.by_class:
        found.append(faults.ROWS_BY_CLASS)
    if order.shift:
        found.append(faults.rows_shifted(order.shift, width, num_train))
    return layout, found, _placed(layout, truths, order)


def _placed(laid: Laid, truths: Sequence[PointTruth], order: RowMap) -> _Aligned:
    there = [order.place[point.train_index] >= 0 for point in truths]
    kept = tuple(
        PointTruth(
            train_index=point.train_index[inside],
            actual_change=point.actual_change[inside],
            certificate=point.certificate[inside],
        )
        for point, inside in zip(truths, there, strict=True)
    )
    every = tuple(np.where(order.place >= 0, row[order.place], np.nan) for row in laid.rows)
    predicted = tuple(row[point.train_index] for row, point in zip(every, kept, strict=True))
    return _Aligned(truths=kept, predicted=predicted, every=every)


def _strength(laid: Laid, truths: Sequence[PointTruth], order: RowMap) -> float:
    aligned = _placed(laid, truths, order)
    pairs = zip(aligned.predicted, aligned.truths, strict=True)
    return float(np.mean([abs(correlation(x, point.actual_change)) for x, point in pairs]))


def _sign(aligned: _Aligned, least: int) -> tuple[int, bool]:
    """1 or −1 by the mean correlation with the truth, of sizes or of ranks; 0 where none is certain.

    Of few points ranks decide: one point of large effect makes r of sizes, and no chance is known of that.
    And whether, where none is certain, that is for want of points.
    """
    by_size = pooled_correlation(aligned.predicted, aligned.truths)
    by_rank = pooled_correlation(
        [ranks(x) for x in aligned.predicted],
        [replace(point, actual_change=ranks(point.actual_change)) for point in aligned.truths],
    )
    points = sum(len(x) for x in aligned.predicted)
    r = max(by_size, by_rank, key=abs)
    if points >= FEWEST and abs(r) >= max(LEAST_R, CERTAIN / math.sqrt(points)):
        return (1 if r > 0 else -1), False
    freedom = points - 3 * len(aligned.predicted)
    if (
        points >= least
        and freedom > 0
        and abs(by_rank) >= max(LEAST_R, math.tanh(CERTAIN / math.sqrt(freedom)))
    ):
        return (1 if by_rank > 0 else -1), False
    return 0, points < FEWEST or abs(r) >= LEAST_R


def _only_ranks(aligned: _Aligned, turned: Sequence[Float[np.ndarray, " _"]]) -> bool:
    rows = turned if aligned.every is None else [row[np.isfinite(row)] for row in aligned.every]
    if all(is_ranking(row) for row in rows):
        return True
    if sum(len(x) for x in turned) < FEWEST:
        return False
    pairs = zip(turned, aligned.truths, strict=True)
    return all(follows_order_alone(x, point.actual_change) for x, point in pairs)


def _factor(
    scores: Sequence[Float[np.ndarray, " _"]], truths: Sequence[PointTruth], num_train: int
) -> tuple[Fault | None, float, bool]:
    """What the scores have to be multiplied by, and the fault's name; 1 where that is within their noise.

    And whether 1 is within their noise for want of points alone.

    Test points count alike: each is brought to the size of its own truth first.
    """
    changes = [point.actual_change for point in truths]
    sizes = [float(np.abs(y).max()) or 1.0 for y in changes]
    x = np.concatenate([(s - s.mean()) / size for s, size in zip(scores, sizes, strict=True)])
    y = np.concatenate([(y - y.mean()) / size for y, size in zip(changes, sizes, strict=True)])
    r = correlation(x, y)
    if r < LEAST_R:
        return None, 1.0, False
    slope, (low, typical, high) = likely_factor(x, y), typical_ratio(x, y)
    least, most = mending_factors(r, slope, len(x))
    if not (most < 1 and low > TOLERANCE) and not (least > 1 and high < 1 / TOLERANCE):
        too_large = slope / (r * r) * TOLERANCE < 1 and typical > TOLERANCE
        too_small = slope / TOLERANCE > 1 and typical < 1 / TOLERANCE
        return None, 1.0, too_large or too_small
    for name, known in ((faults.FACTOR_N, 1 / num_train), (faults.FACTOR_ONE_OVER_N, float(num_train))):
        if least <= known <= most:
            return faults.factor(1 / known, num_train, name), known, False
    value = min(max(1 / typical, slope), slope / (r * r))
    return faults.factor(1 / value, num_train, faults.FACTOR), value, False
