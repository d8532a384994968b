"""`repro ground-truth`: export the actual changes of any test points, to judge other estimators by."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from repro.agreement import actual_changes, known_of
from repro.dattri_files import check_folder, check_one_size, dattri_truth, halves_of, write_dattri
from repro.errors import StageError, UsageError
from repro.notices import note_wrote
from repro.retraining import make_retrainer
from repro.selection import chosen_groups, makes_groups, needs_influence
from repro.session import Session
from repro.truth_files import check_suffix, write_truth
from retrain.changes import PROVEN, Changes
from retrain.removal import Removal

DATTRI = "dattri"
FORMATS = ("auto", DATTRI)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The file that was written, and what is in it."""

    file: Path
    test_points: int
    training_points: int
    """Training points that were left out each by itself, if these were exported."""
    groups: int
    """Groups of training points, if these were exported."""
    examples: int
    max_certificate: float


def export_ground_truth(session: Session, out: Path, layout: str = "auto") -> Exported:
    """Write one row for each test point and each training point that has been left out.

    Args:
        out: the file, or the folder of a layout of several files.
        layout: "auto" by the name of the file, or "dattri".

    Raises:
        UsageError: the file's name says no format, or groups do not fit the layout.
        StageError: an earlier stage is missing.
    """
    if layout not in FORMATS:
        raise UsageError(f"--format {layout}: expected {' or '.join(FORMATS)}")
    found = (_export_dattri if layout == DATTRI else _export_tables)(session, out)
    session.listener.result(found)
    note_wrote(out)
    return found


def _export_tables(session: Session, out: Path) -> Exported:
    grouped = makes_groups(session.config)
    check_suffix(out, grouped)
    truth, targets = changes_so_far(session)
    table = actual_changes(truth, targets)
    if grouped:
        table = _table_of_groups(truth, targets)
    if grouped and table.empty:
        raise StageError(
            f"{session.folder.weights} holds no models without groups. "
            f"Run first: {session.command('retrain')}"
        )
    if (table["truth"] == PROVEN).all():
        table = table.drop(columns=["truth", "margin"])
    write_truth(table, out)
    return Exported(
        file=out,
        test_points=table["test_index"].nunique(),
        training_points=0 if grouped else len(truth.points),
        groups=len(table) // table["test_index"].nunique() if grouped else 0,
        examples=session.risk.num_examples,
        max_certificate=float(table["certificate"].max()),
    )


def _export_dattri(session: Session, out: Path) -> Exported:
    check_folder(out)
    # What the configuration names is asked for before any work.
    named = _named_groups(session)
    truth, targets = changes_so_far(session)
    num_train = session.risk.num_examples
    stored = [rows for rows in truth.removals if len(rows) > 1]
    halves = (
        halves_of(stored, num_train) if named is None else [rows for rows in named if rows in set(stored)]
    )
    theta = session.model().theta
    losses = session.risk.losses(theta, *(part.to(theta.device) for part in session.test_examples(targets)))
    metrics = dattri_truth(truth, losses.cpu().numpy(), num_train, halves)
    if not metrics:
        raise StageError(
            f"{session.folder.weights} holds neither models without one point nor models of halves. "
            f"Run first: {session.command('retrain')}"
        )
    write_dattri(metrics, targets, out)
    return Exported(
        file=out,
        test_points=len(targets),
        training_points=len(truth.points),
        groups=len(halves),
        examples=num_train,
        max_certificate=max(float(one.certificates.max()) for one in metrics),
    )


def _named_groups(session: Session) -> list[Removal] | None:
    """The groups that the configuration makes without predictions; None where it makes points."""
    if not makes_groups(session.config) or needs_influence(session.config):
        return None
    found = chosen_groups(session.config, session.dataset)
    check_one_size(found)
    return found


def changes_so_far(session: Session) -> tuple[Changes, list[int]]:
    """The changes of all removals that are solved, and the test points that they are of.

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
    return truth, targets


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
                    **known_of(truth, row, columns),
                }
            )
            for row, target in enumerate(targets)
        ],
        ignore_index=True,
    )
