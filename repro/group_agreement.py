"""Predicted and actual changes of groups joined into one table, and how well they agree: drawn elsewhere."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from influence.solution import small_sample_factor
from repro.agreement import known_changes, known_of, summarise
from repro.errors import StageError
from repro.group_choice import by_size, choose_groups
from repro.model_file import TrainedModel
from repro.notices import warn
from repro.predictions import Prediction
from repro.records.influence import InfluenceRecord
from repro.records.removals import own_predictions, read_removals_of
from repro.records.repeats import read_repeats
from repro.records.summary import Summary
from repro.selection import selection_name
from repro.session import Session
from retrain.removal import Removal

COLUMNS = (
    "method", "test_index", "removal", "size", "predicted_change", "predicted_stderr", "actual_change",
    "certificate", "truth", "margin", "selection", "predicted_certificate",
)  # fmt: skip
"""Of groups.csv; the last as in leave_one_out.csv."""


@dataclass(frozen=True, kw_only=True)
class JoinedGroups:
    """Predicted beside actual change, for every method, test point and group."""

    predictions: list[Prediction]
    removals: list[Removal]
    """All groups: what `removal` of the table counts."""
    table: pd.DataFrame
    """The columns of groups.csv."""
    summary: Summary

    @property
    def wholes(self) -> set[str]:
        """The methods that predict a group as a whole, and do not sum what its members do."""
        return {one.method for one in self.predictions if one.record.predicts_groups}


def join_groups(session: Session) -> JoinedGroups:
    """Join what `influence` predicted with what `retrain` found; nothing is written.

    Raises:
        StageError: an earlier stage is missing.
    """
    model = session.model()
    targets = session.targets(model)
    predictions, groups = choose_groups(session, model)
    removals = by_size(rows for own in groups.values() for rows in own)
    truth = known_changes(session, model, removals)
    place_of = {rows: place for place, rows in enumerate(removals)}
    column_of = {rows: column for column, rows in enumerate(truth.removals)}
    predictions = _with_predictions_of_groups(session, predictions, groups)
    parts = [
        _part(session, model, prediction, target, own, place_of).assign(
            **known_of(truth, row, [column_of[rows] for rows in own])
        )
        for prediction in predictions
        for row, target in enumerate(targets)
        for own in [groups[prediction.method, target]]
    ]
    table = pd.concat(parts, ignore_index=True).assign(selection=selection_name(session.config))
    table = table[list(COLUMNS)]
    summary = summarise(table, predictions, truth, targets)
    return JoinedGroups(predictions=predictions, removals=removals, table=table, summary=summary)


def predicted_group_changes(
    own: pd.DataFrame,
    groups: list[Removal],
    repeats: Float[np.ndarray, "r n"] | None = None,
    l2_part: float = 0.0,
) -> tuple[Float[np.ndarray, " g"], Float[np.ndarray, " g"]]:
    """Sums of the members' predicted changes, −Σ I_up,loss/n, and their standard errors.

    The members' errors are correlated, since all come from one s_test. So a sum's error is found from the
    sums of each repeat; where these are not there it is NaN, but 0 for a method without noise, and a single
    row's own.

    Args:
        own: a method's table for one test point, a row for each training point in order.
        groups: training rows.
        repeats: predicted changes of each training point by each repeat.
        l2_part: what each row's change is too large by, where groups keep n·λ and lose no L2: λ s_testᵀθ̂/n.
    """
    changes = own["predicted_change"].to_numpy(dtype=np.float64) - l2_part
    errors = own["predicted_stderr"].to_numpy(dtype=np.float64)
    sums = np.array([changes[list(rows)].sum() for rows in groups])
    if repeats is not None and len(repeats) > 1:
        by_repeat = np.array([repeats[:, list(rows)].sum(axis=1) for rows in groups])
        factor = small_sample_factor(len(repeats)) / len(repeats) ** 0.5
        return sums, factor * by_repeat.std(axis=1, ddof=1)
    exact = np.array([not errors[list(rows)].any() for rows in groups])
    single = np.array([errors[rows[0]] if len(rows) == 1 else np.nan for rows in groups])
    return sums, np.where(exact, 0.0, single)


def _with_predictions_of_groups(
    session: Session, predictions: list[Prediction], groups: dict[tuple[str, int], list[Removal]]
) -> list[Prediction]:
    """The methods, less those that predict groups as wholes and have not predicted these.

    Raises:
        StageError: none is left.
    """
    scaling = session.config["retrain"]["l2_scaling"]
    found, lacking = [], []
    for prediction in predictions:
        known = read_removals_of(session.folder, prediction.record)
        if prediction.record.predicts_groups and any(
            own_predictions(known, target, own, scaling) is None
            for (method, target), own in groups.items()
            if method == prediction.method
        ):
            again = session.command("influence", "--method", prediction.method)
            lacking.append(f"{prediction.method} has not predicted these groups. Run: {again}")
        else:
            found.append(prediction)
    if not found:
        raise StageError("\n".join(lacking))
    for line in lacking:
        warn(f"left out: {line}")
    return found


def _part(
    session: Session,
    model: TrainedModel,
    prediction: Prediction,
    target: int,
    groups: list[Removal],
    place_of: dict[Removal, int],
) -> pd.DataFrame:
    scaling = session.config["retrain"]["l2_scaling"]
    certificates = np.full(len(groups), np.nan)
    if prediction.record.predicts_groups:
        own = own_predictions(read_removals_of(session.folder, prediction.record), target, groups, scaling)
        assert own is not None
        changes, errors = own["predicted_change"].to_numpy(np.float64), np.zeros(len(groups))
        certificates = own["predicted_certificate"].to_numpy(np.float64)
    else:
        members = prediction.selected[prediction.selected["test_index"] == target]
        part_of_l2 = l2_part(prediction.record, target, len(members), scaling)
        repeats = _changes_by_repeat(session, model, prediction, target)
        changes, errors = predicted_group_changes(members, groups, repeats, part_of_l2)
    return pd.DataFrame(
        {
            "method": prediction.method,
            "test_index": target,
            "removal": [place_of[rows] for rows in groups],
            "size": [len(rows) for rows in groups],
            "predicted_change": changes,
            "predicted_stderr": errors,
            "predicted_certificate": certificates,
        }
    )


def _changes_by_repeat(
    session: Session, model: TrainedModel, prediction: Prediction, target: int
) -> Float[np.ndarray, "r n"] | None:
    """What each repeat of a stochastic method predicts of each training point; None where it is not kept."""
    kept = read_repeats(session.folder, prediction.method, prediction.record.table_checksum).get(target)
    if kept is None or kept.shape[1] != len(model.theta):
        return None
    risk = session.risk_on(model.theta.device)
    products = risk.per_example_gradient_dots(model.theta, kept.to(model.theta))
    if session.config["retrain"]["l2_scaling"] == "sum":
        products = products - risk.l2 * (kept.to(model.theta) @ model.theta)[:, None]
    found: np.ndarray = products.cpu().numpy() / risk.num_examples
    return found


def l2_part(record: InfluenceRecord, target: int, num_examples: int, scaling: str) -> float:
    """What a row's predicted change is too large by: see `predicted_group_changes`.

    Raises:
        StageError: the record is of a version that did not keep it.
    """
    if scaling == "mean":
        return 0.0
    found = next((one.l2_product for one in record.solutions if one.test_index == target), None)
    if found is None:
        raise StageError(
            f"the record of {record.method} does not say how much of its predictions is L2, which "
            "retrain.l2_scaling=sum needs: predict again by the same method"
        )
    return found / num_examples
