"""Actual changes with their certificates, as scores are judged by them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

COLUMNS = ("test_index", "train_index", "actual_change", "certificate")
OTHER_MINIMA = ("left it", "undecided")
"""In the column `truth`, where there is one: models that no score is judged by."""


class TruthError(ValueError):
    """What was given as truth is none; the message says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class PointTruth:
    """What leaving out some training points does to the loss of one test point."""

    train_index: Int[np.ndarray, " m"]
    """Ascending, each once."""
    actual_change: Float[np.ndarray, " m"]
    certificate: Float[np.ndarray, " m"]
    """Bound on the error of `actual_change`; infinite where nothing is proven."""


@dataclass(frozen=True, kw_only=True)
class GroupTruth:
    """What leaving out some groups of training points does to the loss of one test point."""

    rows: tuple[Int[np.ndarray, " _"], ...]
    """The training points of each group; as many in each."""
    actual_change: Float[np.ndarray, " m"]
    certificate: Float[np.ndarray, " m"]
    """Bound on the error of `actual_change`; infinite where nothing is proven."""


@dataclass(frozen=True, kw_only=True)
class L2Terms:
    """What L2 (λ) has to do with predicted changes: needed to tell where an estimator has left it out."""

    reference: Mapping[int, Float[np.ndarray, " n"]]
    """By test point, the predicted change s_testᵀ∇L(zᵢ)/n of an exact solution, for every training point."""
    of_test_gradient: Callable[[], Float[np.ndarray, " n"] | None]
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n: what predicted changes gain if the test gradient has λθ̂ in it; None where there is no
    such solution. It may have to be solved for, so that it is called only where it matters."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Actual changes of some test points, and what is known of the data that they are about."""

    points: Mapping[int, PointTruth]
    """By test point, in the order in which files of scores name none."""
    num_train: int | None = None
    """n; None where it is not known, as of a table alone."""
    num_test: int | None = None
    labels: Int[np.ndarray, " n"] | None = None
    """Classes of the training points, which tell rows that were sorted by them."""
    halves: Mapping[int, GroupTruth] = field(default_factory=dict)
    """By test point, models of random halves, whose order the linear datamodeling score is of."""
    l2_terms: Callable[[], L2Terms | None] = field(default=lambda: None)
    """Called where scores are so near the truth that L2 can be told; None where there is no model."""


def truth_of_table(table: pd.DataFrame, num_train: int | None = None, num_test: int | None = None) -> Truth:
    """The truth in a table with `COLUMNS`: of `repro ground-truth`, or leave_one_out.csv.

    A pair that stands in it several times, once for each method, must say the same each time.

    Raises:
        TruthError: a column is missing, or values are not such as this tool writes.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise TruthError(f"has no column {', '.join(missing)}; the truth needs {', '.join(COLUMNS)}")
    if "truth" in table:
        # No score speaks of a minimum that θ̂ does not become.
        table = table[~table["truth"].isin(OTHER_MINIMA)]
    known = table[list(COLUMNS)].drop_duplicates()
    if known.empty:
        raise TruthError("has no rows")
    for name in ("test_index", "train_index"):
        if not pd.api.types.is_integer_dtype(known[name]) or bool((known[name] < 0).any()):
            raise TruthError(f"column {name}: expected integers from 0")
    for name in ("actual_change", "certificate"):
        if not pd.api.types.is_numeric_dtype(known[name]):
            raise TruthError(f"column {name}: expected numbers")
    if not np.isfinite(known["actual_change"]).all() or not bool((known["certificate"] >= 0).all()):
        raise TruthError("actual changes must be finite, and certificates 0 or more")
    if bool(known.duplicated(["test_index", "train_index"]).any()):
        raise TruthError("has two actual changes for one test point and one training point")
    points = {int(str(target)): _point(rows) for target, rows in known.groupby("test_index", sort=False)}
    return Truth(points=points, num_train=num_train, num_test=num_test)


def _point(rows: pd.DataFrame) -> PointTruth:
    rows = rows.sort_values("train_index")
    return PointTruth(
        train_index=rows["train_index"].to_numpy(dtype=np.int64),
        actual_change=rows["actual_change"].to_numpy(dtype=np.float64),
        certificate=rows["certificate"].to_numpy(dtype=np.float64),
    )
