"""`score(predicted, truth)` from Python: an estimator judged by actual changes, without a file of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from repro.errors import UsageError
from repro.score_truth import truth_at
from score.formats.reading import read_scores
from score.predicted import Scores, ScoresError
from score.score import Score, score_scores
from score.truth import Truth, TruthError, truth_of_table

if TYPE_CHECKING:
    from repro.functions import CertifiedChanges


def score(predicted: Any, truth: "Truth | pd.DataFrame | CertifiedChanges | str | Path") -> Score:
    """How well predicted changes agree with the actual ones, and what is wrong with them.

    Args:
        predicted: −I_up,loss/n, the change of each test loss when a training point is removed: an array or
            tensor of shape (t, n), (n,) for one test point, or (t, m) for the points that were left out,
            ascending; or the path of a file.
        truth: a run folder, a file of `repro ground-truth`, a table with its columns, or what `leave_out`
            returns, whose test points count from 0.

    Raises:
        repro.errors.UsageError: one of them cannot be read, or they cannot be compared; the message says why.
    """
    try:
        if isinstance(predicted, (str, Path)):
            given = read_scores(Path(predicted))
        else:
            given = Scores(values=np.atleast_2d(np.asarray(_plain(predicted), dtype=np.float64)))
        if given.values.ndim != 2:
            raise ScoresError(f"predicted has the shape {given.values.shape}; pass a vector or a matrix")
        return score_scores(given, _truth(truth))
    except (ScoresError, TruthError) as error:
        raise UsageError(str(error)) from error


def _plain(values: Any) -> Any:
    """A tensor as an array, wherever it is; all else as it is."""
    return values.detach().cpu() if hasattr(values, "detach") else values


def _truth(truth: Any) -> Truth:
    if isinstance(truth, Truth):
        return truth
    if isinstance(truth, pd.DataFrame):
        return truth_of_table(truth)
    if isinstance(truth, (str, Path)):
        return truth_at(Path(truth))
    single = [column for column, rows in enumerate(truth.removals) if len(rows) == 1]
    actual, bound = (_plain(values).numpy() for values in (truth.actual_change, truth.certificate))
    table = pd.DataFrame(
        {
            "test_index": test,
            "train_index": truth.removals[column][0],
            "actual_change": actual[test, column],
            "certificate": bound[test, column],
        }
        for test in range(len(actual))
        for column in single
    )
    if table.empty:
        raise TruthError("no removal of a single training point is there to judge by")
    return truth_of_table(table)
