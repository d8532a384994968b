"""`repro ground-truth`: export the actual changes of any test points, to judge other estimators by."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from repro.agreement import actual_changes
from repro.errors import StageError
from repro.retraining import make_retrainer
from repro.selection import makes_groups
from repro.session import Session
from repro.truth_files import check_suffix, write_truth
from retrain.changes import PROVEN, Changes


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The file that was written, and what is in it."""

    file: Path
    test_points: int
    training_points: int
    """Training points that were left out."""
    groups: int
    """Groups of training points, if these were exported and not the points."""
    examples: int
    max_certificate: float


def export_ground_truth(session: Session, out: Path) -> Exported:
    """Write one row for each test point and each training point that has been left out.

    Raises:
        UsageError: the file's name says no format.
        StageError: an earlier stage is missing.
    """
    grouped = makes_groups(session.config)
    check_suffix(out, grouped)
    table, truth = left_out_changes(session)
    if grouped:
        table = _table_of_groups(truth, session.targets(session.model()))
    if grouped and table.empty:
        raise StageError(
            f"{session.folder.weights} holds no models without groups. "
            f"Run first: {session.command('retrain')}"
        )
    if (table["truth"] == PROVEN).all():
        table = table.drop(columns=["truth", "margin"])
    write_truth(table, out)
    found = Exported(
        file=out,
        test_points=table["test_index"].nunique(),
        training_points=len(truth.points),
        groups=len(table) // table["test_index"].nunique() if grouped else 0,
        examples=session.risk.num_examples,
        max_certificate=float(table["certificate"].max()),
    )
    session.listener.result(found)
    return found


def left_out_changes(session: Session) -> tuple[pd.DataFrame, Changes]:
    """A row for each test point and training point that has been left out; and the changes of all removals.

    Raises:
        StageError: an earlier stage is missing.
    """
    with session.opened() as folder:
        model = session.model()
        targets = session.targets(model)
        truth = make_retrainer(session, model).changes(*session.test_examples(targets))
        if not truth.removals:
            raise StageError(
                f"{folder.weights} holds no leave-one-out models. Run first: {session.command('retrain')}"
            )
    return actual_changes(truth, targets), truth


def _table_of_groups(truth: Changes, targets: list[int]) -> pd.DataFrame:
    columns = [column for column, rows in enumerate(truth.removals) if len(rows) > 1]
    groups = [truth.removals[column] for column in columns]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "test_index": target,
                    "rows": [json.dumps(list(rows)) for rows in groups],
                    "size": [len(rows) for rows in groups],
                    "actual_change": truth.actual_change[row, columns],
                    "certificate": truth.bound[row, columns],
                    "truth": np.array(truth.truth, dtype=object)[columns],
                    "margin": truth.margin[columns],
                }
            )
            for row, target in enumerate(targets)
        ],
        ignore_index=True,
    )
