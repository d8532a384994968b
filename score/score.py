"""How well scores agree with actual changes, what is wrong with them, and how well they agree once mended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from score.faults import Fault
from score.interval import Interval
from score.measures import Measures, datamodeling_score, measure
from score.predicted import Laid, Scores, ScoresError, lay_out, select
from score.search import find_faults
from score.truth import PointTruth, Truth


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is found of scores, as score.json keeps it; the figures are those of the first test point."""

    measures: dict[int, Measures]
    """By test point, of the scores as they are."""
    faults: tuple[Fault, ...]
    """What is wrong; empty where nothing is, or nothing that would make the scores agree."""
    too_few_points: bool
    """Whether no fault is named for want of points: more could name one, or rule it out."""
    mended: dict[int, Measures]
    """By test point, with the faults mended; the same as `measures` where there are none."""

    @property
    def fault_names(self) -> list[str]:
        """Their names."""
        return [fault.name for fault in self.faults]

    @property
    def pearson(self) -> Interval:
        return self._first.pearson

    @property
    def spearman(self) -> Interval:
        return self._first.spearman

    @property
    def slope(self) -> Interval:
        return self._first.slope

    @property
    def intercept(self) -> Interval:
        return self._first.intercept

    @property
    def max_abs_error(self) -> Interval:
        return self._first.max_abs_error

    @property
    def decided(self) -> Interval:
        return self._first.decided

    @property
    def top_overlap(self) -> Interval:
        return self._first.top_overlap

    @property
    def lds(self) -> Interval | None:
        return self._first.lds

    @property
    def _first(self) -> Measures:
        return next(iter(self.measures.values()))

    def as_json(self) -> dict[str, object]:
        """The first test point's figures, each as value, low and high; `faults`, a list of names; the changes
        and the figures with them; with several test points each under `test_points`."""
        first = next(iter(self.measures))
        mended = {target: asdict(found) if self.faults else None for target, found in self.mended.items()}
        points = {
            str(target): asdict(found) | {"mended": mended[target]} for target, found in self.measures.items()
        }
        return {
            "test_index": first,
            **asdict(self.measures[first]),
            "faults": self.fault_names,
            "too_few_points": self.too_few_points,
            "changes": [asdict(fault) for fault in self.faults],
            "mended": mended[first],
            **({"test_points": points} if len(points) > 1 else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Score(Findings):
    """How well scores agree with the truth, what is wrong with them, and the scores themselves."""

    pairs: pd.DataFrame
    """One row for each test point and left-out point: test_index, train_index, predicted_change,
    actual_change, certificate, mended_change."""
    scores: Laid
    """All scores, by test point."""


def score_scores(scores: Scores, truth: Truth) -> Score:
    """Judge scores by the truth.

    Args:
        scores: predicted changes of a test loss when a training point is removed, −I_up,loss/n.
        truth: actual changes with certificates.

    Raises:
        ScoresError: they cannot be compared; the message says why.
    """
    laid = lay_out(scores, truth)
    mended = find_faults(laid, truth)
    shown = _as_given(laid, truth)
    for target, (point, _) in shown.items():
        if len(point.train_index) < 2:
            raise ScoresError(f"test point {target}: at least two left-out training points are needed")
    after = {
        target: (point, x)
        for target, point, x in zip(laid.test_points, mended.truths, mended.predicted, strict=True)
    }
    given = None if laid.train_index is not None else list(laid.rows)
    return Score(
        measures=_measures(shown, _datamodeling(laid.test_points, given, truth)),
        faults=mended.faults,
        too_few_points=mended.too_few and not mended.faults,
        mended=_measures(after, _datamodeling(laid.test_points, mended.every, truth)),
        pairs=_pairs(shown, after),
        scores=laid,
    )


Pair = tuple[PointTruth, Float[np.ndarray, " _"]]


def _as_given(laid: Laid, truth: Truth) -> dict[int, Pair]:
    """Scores as they are, read in the layout that they have."""
    return {
        target: (truth.points[target], select(laid, row, truth.points[target].train_index))
        for row, target in enumerate(laid.test_points)
    }


def _datamodeling(
    targets: Sequence[int], rows: Sequence[Float[np.ndarray, " _"]] | None, truth: Truth
) -> dict[int, Interval | None]:
    """The linear datamodeling score of each test point, where scores of all training points can have one."""
    if rows is None:
        return {}
    return {
        target: datamodeling_score(row, truth.halves[target])
        for target, row in zip(targets, rows, strict=True)
        if target in truth.halves and len(row) == truth.num_train
    }


def _measures(pairs: dict[int, Pair], scores: dict[int, Interval | None]) -> dict[int, Measures]:
    return {
        target: measure(predicted, point.actual_change, point.certificate, scores.get(target))
        for target, (point, predicted) in pairs.items()
    }


def _pairs(shown: dict[int, Pair], after: dict[int, Pair]) -> pd.DataFrame:
    parts = []
    for target, (point, predicted) in shown.items():
        mended_point, mended = after[target]
        by_train = pd.Series(mended, index=mended_point.train_index)
        parts.append(
            pd.DataFrame(
                {
                    "test_index": target,
                    "train_index": point.train_index,
                    "predicted_change": predicted,
                    "actual_change": point.actual_change,
                    "certificate": point.certificate,
                    "mended_change": by_train.reindex(point.train_index).to_numpy(dtype=np.float64),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
