"""What a file of scores holds, and which of its numbers belong to which test point and training point."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from score.truth import Truth

Layout = Literal["test_rows", "train_rows", "either"]


class ScoresError(ValueError):
    """Scores that cannot be judged: of another shape, other points, or not numbers; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Numbers as somebody wrote them."""

    values: Float[np.ndarray, "a b"]
    """In any layout; a vector is one row."""
    layout: Layout = "test_rows"
    """What a row is by the format; "either" where tools write both, so that neither is a fault."""
    test_index: tuple[int, ...] | None = None
    """Whose scores these are, where the file says it."""
    train_index: Int[np.ndarray, " b"] | None = None
    """The training points of the columns, where the file says it."""
    form: str = "array"
    """What kind of file it was."""


@dataclass(frozen=True, kw_only=True)
class Laid:
    """One row for each test point of the truth."""

    test_points: tuple[int, ...]
    rows: Float[np.ndarray, "t b"]
    train_index: Int[np.ndarray, " b"] | None
    """None: the columns are all training points in order, or meant to be."""
    transposed: bool
    """Whether rows were training points though the format does not say so."""


def lay_out(scores: Scores, truth: Truth) -> Laid:
    """Rows by test point, for those that truth and scores have in common.

    Raises:
        ScoresError: the shape fits no layout, the test points are others, or a number is not finite.
    """
    values, transposed = scores.values, False
    if values.size == 0:
        raise ScoresError("holds no scores")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ScoresError(
            f"holds {bad:,} of {values.size:,} scores that are NaN or infinite; leave such points out or "
            "mend the estimator first"
        )
    if scores.layout == "train_rows" and len(values) > 1:
        values = values.T
    if scores.train_index is None and not _fits(values.shape, truth) and _fits(values.shape[::-1], truth):
        # A vector that stands upright is no other order of numbers.
        values, transposed = values.T, scores.layout != "either"
    targets = _test_points(scores, values.shape, truth)
    if scores.test_index is None and len(values) == truth.num_test and len(values) != len(truth.points):
        values = values[list(targets)]
    elif scores.test_index is not None:
        values = values[[scores.test_index.index(target) for target in targets]]
    columns = scores.train_index
    if columns is None:
        columns = _only_points_of_truth(values.shape[1], targets, truth)
    return Laid(
        test_points=targets,
        rows=np.ascontiguousarray(values, dtype=np.float64),
        train_index=columns,
        transposed=transposed,
    )


def _fits(shape: tuple[int, ...], truth: Truth) -> bool:
    """Whether (rows, columns) can be test points and training points."""
    tests, trains = shape
    if tests not in (len(truth.points), truth.num_test):
        return False
    return trains >= _least_columns(truth) or trains in {len(p.train_index) for p in truth.points.values()}


def _least_columns(truth: Truth) -> int:
    """n; without it, as many as the truth speaks of at least."""
    largest = max(int(point.train_index.max()) for point in truth.points.values()) + 1
    return truth.num_train or largest


def _test_points(scores: Scores, shape: tuple[int, ...], truth: Truth) -> tuple[int, ...]:
    known = tuple(truth.points)
    if scores.test_index is not None:
        common = tuple(target for target in known if target in scores.test_index)
        if not common:
            theirs = ", ".join(map(str, scores.test_index[:5]))
            raise ScoresError(
                f"scores test point {theirs}, the truth is of {', '.join(map(str, known[:5]))}. Explain one "
                "of these, or take the truth of yours"
            )
        return common
    if shape[0] in (len(known), truth.num_test):
        return known
    of_tests = f"{len(known)} test point{'s' * (len(known) != 1)} ({', '.join(map(str, known[:5]))})"
    of_trains = f"{_least_columns(truth):,} training points" + ("" if truth.num_train else " or more")
    raise ScoresError(
        f"has the shape {' × '.join(map(str, shape))}; the truth is of {of_tests} and {of_trains}. Expected "
        "one row for each test point, and one column for each training point, in order"
    )


def _only_points_of_truth(
    columns: int, targets: tuple[int, ...], truth: Truth
) -> Int[np.ndarray, " b"] | None:
    """The points that the truth knows, where there are just as many columns; None for all training points."""
    least = _least_columns(truth)
    if columns >= least:
        return None
    first = truth.points[targets[0]].train_index
    same = all(np.array_equal(truth.points[target].train_index, first) for target in targets)
    if same and columns == len(first):
        return first
    expected = f"{least:,}" + ("" if truth.num_train else " or more")
    raise ScoresError(
        f"has scores of {columns:,} training points; the truth is of {expected}, of which {len(first):,} "
        "were left out. Score all of them, or exactly these, ascending"
    )


def select(laid: Laid, row: int, wanted: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """One test point's scores of some training points.

    Raises:
        ScoresError: some have none.
    """
    if laid.train_index is None:
        return np.asarray(laid.rows[row, wanted])
    order = np.argsort(laid.train_index, kind="stable")
    sorted_index = laid.train_index[order]
    if len(np.unique(sorted_index)) != len(sorted_index):
        raise ScoresError("scores a training point twice")
    places = np.searchsorted(sorted_index, wanted).clip(max=len(sorted_index) - 1)
    missing = wanted[sorted_index[places] != wanted]
    if len(missing):
        raise ScoresError(
            f"has no score for {len(missing):,} of the {len(wanted):,} training points that were left out, "
            f"such as {int(missing[0])}"
        )
    return np.asarray(laid.rows[row, order[places]])
