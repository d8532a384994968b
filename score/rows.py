"""Do scores belong to other training points than they say: rows shifted, or in the order of their classes?

A shift by any number of rows is found at once: the correlation with the truth at all of them is three
convolutions, made by the fast Fourier transform.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from score.interval import ranks
from score.truth import PointTruth

LEAST_POINTS = 10
"""Fewer tell no order from another."""
LEAST_R = 0.3
LEAST_GAIN = 0.35
"""Of Fisher's z, arctanh r: from r = 0.5 to 0.71, from 0.9 to 0.95."""
GAIN_BY_CHANCE = 7.0
"""Standard errors 1/√m of z. The largest of 10⁵ by chance is at 4.4; points of large effect weigh more."""
LEAST_RANK_GAIN = 3.0
"""Standard errors of z that ranks must gain too: where the largest score meets the largest effect, r of sizes
is high at one shift of all, by chance."""
LARGEST_R = 0.999


@dataclass(frozen=True, kw_only=True)
class RowMap:
    """Where the scores of the training points stand in a file."""

    place: Int[np.ndarray, " n"]
    """By training point, its column; −1 where it has none."""
    by_class: bool = False
    shift: int = 0

    @property
    def is_identity(self) -> bool:
        """Whether every point stands at its own place."""
        return not self.by_class and self.shift == 0


def find_rows(
    rows: Sequence[Float[np.ndarray, " N"]],
    truths: Sequence[PointTruth],
    num_train: int,
    labels: Int[np.ndarray, " n"] | None,
) -> RowMap:
    """The simplest order of rows in which scores follow the truth; the given one unless another gains much.

    Args:
        rows: scores by test point, of all training points or more.
        truths: in the same order.
        num_train: n.
        labels: classes of the training points; without them no class order is tried.
    """
    as_given = RowMap(place=np.arange(num_train))
    if min(len(truth.train_index) for truth in truths) < LEAST_POINTS:
        return as_given
    best, (best_r, best_rank_r) = as_given, _agreement(rows, truths, as_given.place)
    error = 1 / math.sqrt(sum(len(truth.train_index) for truth in truths))
    margin = max(LEAST_GAIN, GAIN_BY_CHANCE * error)
    for candidates in _candidates(rows, truths, num_train, labels):
        scored = [(*_agreement(rows, truths, candidate.place), candidate) for candidate in candidates]
        r, rank_r, found = max(scored, key=lambda one: one[0])
        by_order = fisher_z(rank_r) > fisher_z(best_rank_r) + LEAST_RANK_GAIN * error
        if r >= LEAST_R and fisher_z(r) > fisher_z(best_r) + margin and by_order:
            best, best_r, best_rank_r = found, r, rank_r
    return best


def _candidates(
    rows: Sequence[Float[np.ndarray, " N"]],
    truths: Sequence[PointTruth],
    num_train: int,
    labels: Int[np.ndarray, " n"] | None,
) -> list[list[RowMap]]:
    """From simple to less simple: sorted by class, shifted, both."""
    own = np.arange(num_train)
    sorted_places = [] if labels is None or len(rows[0]) < num_train else _class_places(labels)
    plain = [RowMap(place=place, by_class=True) for place in sorted_places]
    shifts = _shifted(rows, truths, own)
    both = [
        RowMap(place=moved.place, by_class=True, shift=moved.shift)
        for place in sorted_places
        for moved in [*_shifted(rows, truths, place), *_sorted_after(rows, truths, place)]
    ]
    return [found for found in (plain, shifts, both) if found]


def _class_places(labels: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " n"]]:
    """Where points stand after a stable sort by class, and the same taken the wrong way round."""
    order = np.argsort(labels, kind="stable")
    if np.array_equal(order, np.arange(len(labels))):
        return []
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return [place, order]


def _shifted(
    rows: Sequence[Float[np.ndarray, " N"]], truths: Sequence[PointTruth], place: Int[np.ndarray, " n"]
) -> list[RowMap]:
    """The best shift of all: where what falls off one end is lost, and where it comes back at the other."""
    shift, width = _best_shift(rows, truths, place), len(rows[0])
    if shift == 0:
        return []
    moved = place + shift
    lost = np.where((moved >= 0) & (moved < width), moved, -1)
    found = [RowMap(place=lost, shift=shift)]
    if width == len(place):
        found.append(RowMap(place=moved % width, shift=shift))
    return found


def _sorted_after(
    rows: Sequence[Float[np.ndarray, " N"]], truths: Sequence[PointTruth], place: Int[np.ndarray, " n"]
) -> list[RowMap]:
    """Shifted first and sorted by class then."""
    if len(rows[0]) != len(place):
        return []
    undone = [row[place] for row in rows]
    found = _shifted(undone, truths, np.arange(len(place)))
    return [
        RowMap(place=np.where(moved.place < 0, -1, place[moved.place]), shift=moved.shift) for moved in found
    ]


def _best_shift(
    rows: Sequence[Float[np.ndarray, " N"]], truths: Sequence[PointTruth], place: Int[np.ndarray, " n"]
) -> int:
    """The k at which column place(i) + k follows the truth of i best, in either sign.

    A k that leaves one of the test points too few columns is none; where none follows, it is 0.
    """
    width = len(rows[0])
    size = 2 ** math.ceil(math.log2(2 * width))
    total = np.zeros(2 * width - 1)
    for row, truth in zip(rows, truths, strict=True):
        total += np.maximum(
            *(
                _r_at_all_shifts(x, y, place[truth.train_index], size)
                for x, y in ((row, truth.actual_change), (ranks(row), ranks(truth.actual_change)))
            )
        )
    return int(total.argmax()) - (width - 1) if total.max() > 0 else 0


def _r_at_all_shifts(
    x: Float[np.ndarray, " N"], y: Float[np.ndarray, " m"], places: Int[np.ndarray, " m"], size: int
) -> Float[np.ndarray, " shifts"]:
    """|r| of x[places + k] and y for k = −(N−1) … N−1, over the points that then have a column.

    Where fewer than half of them have one, or too few, it is −∞.
    """
    x = (x - x.mean()) / (np.abs(x - x.mean()).max() or 1.0)
    y = (y - y.mean()) / (np.abs(y - y.mean()).max() or 1.0)
    at = [np.zeros(len(x)) for _ in range(3)]
    for array, values in zip(at, (np.ones_like(y), y, y * y), strict=True):
        array[places] = values
    ones, ys, squares = (np.conj(np.fft.rfft(array, size)) for array in at)
    of_x, of_squares, inside = (np.fft.rfft(array, size) for array in (x, x * x, np.ones_like(x)))

    products = np.fft.irfft(
        [inside * ones, of_x * ones, inside * ys, of_x * ys, of_squares * ones, inside * squares], size
    )
    summed = np.concatenate([products[:, -(len(x) - 1) :], products[:, : len(x)]], axis=1)
    count, sum_x, sum_y, sum_xy, sum_xx, sum_yy = summed
    count = np.round(count)
    enough = (count >= len(y) / 2) & (count >= LEAST_POINTS)
    count = np.where(enough, count, 1.0)
    cov = sum_xy - sum_x * sum_y / count
    var_x, var_y = sum_xx - sum_x**2 / count, sum_yy - sum_y**2 / count
    # A window in which nothing varies has no correlation, only rounding.
    floor = 1e-9 * len(y)
    usable = enough & (var_x > floor * var_x.max()) & (var_y > floor * var_y.max())
    found = np.where(usable, np.abs(cov) / np.sqrt(np.where(usable, var_x * var_y, 1.0)), 0.0)
    return np.where(enough, found, -np.inf)


def _agreement(
    rows: Sequence[Float[np.ndarray, " N"]], truths: Sequence[PointTruth], place: Int[np.ndarray, " n"]
) -> tuple[float, float]:
    """Over the test points, the mean of |r| of scores and truth, or of their ranks where that is larger; and
    that of the ranks alone."""
    either, of_ranks = [], []
    for row, truth in zip(rows, truths, strict=True):
        places = place[truth.train_index]
        there: Bool[np.ndarray, " m"] = places >= 0
        x, y = row[places[there]], truth.actual_change[there]
        # What has fallen off counts against a shift: rows that come back at the other end keep more.
        share = math.sqrt(float(there.mean()))
        of_ranks.append(share * abs(correlation(ranks(x), ranks(y))))
        either.append(max(share * abs(correlation(x, y)), of_ranks[-1]))
    return float(np.mean(either)), float(np.mean(of_ranks))


def correlation(x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> float:
    """Pearson's r; 0 where one side does not vary."""
    u, v = x - x.mean(), y - y.mean()
    lengths = float(np.linalg.norm(u)) * float(np.linalg.norm(v))
    constant = np.ptp(x) <= 1e-12 * np.abs(x).max() or np.ptp(y) <= 1e-12 * np.abs(y).max()
    return 0.0 if constant or lengths == 0 else float(u @ v) / lengths


def fisher_z(r: float) -> float:
    """arctanh r, of standard error 1/√m; of r near 1, that of `LARGEST_R`."""
    return math.atanh(min(r, LARGEST_R))


def pooled_correlation(scores: Sequence[Float[np.ndarray, " _"]], truths: Sequence[PointTruth]) -> float:
    """The mean of Pearson's r over the test points."""
    pairs = zip(scores, truths, strict=True)
    return float(np.mean([correlation(x, point.actual_change) for x, point in pairs]))
