"""Predicted and actual changes joined into one table, and how well they agree: drawn elsewhere."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool

from erm.risk import EmpiricalRisk
from plots.agreement import Agreement, agreement, comparable
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.model_file import TrainedModel
from repro.notices import warn
from repro.predictions import Prediction, read_predictions, selected_removals
from repro.records.basins import basins_of
from repro.records.influence import age_in_words
from repro.records.removals import certified_points, corrects
from repro.records.retraining import recorded
from repro.records.summary import MethodSummary, PointSummary, Summary
from repro.retraining import make_retrainer, retrain_settings
from repro.selection import describe_selection, points_without_predictions, selection_name
from repro.session import Session
from retrain.changes import Changes
from retrain.removal import Removal, leave_one_out
from retrain.retrainer import Retrainer, with_null_control

COLUMNS = (
    "method", "test_index", "train_index", "label", "predicted_change", "predicted_stderr", "actual_change",
    "certificate", "truth", "margin", "selection", "predicted_certificate",
)  # fmt: skip
"""Of leave_one_out.csv; the last is empty but where a method predicts parameters, which can be certified."""


@dataclass(frozen=True, kw_only=True)
class JoinedChanges:
    """Predicted beside actual change, for every method, test point and removed training point."""

    risk: EmpiricalRisk
    retrainer: Retrainer
    model: TrainedModel
    predictions: list[Prediction]
    table: pd.DataFrame
    """The columns of leave_one_out.csv."""
    summary: Summary
    selection: str
    """How the training points were chosen, in words."""

    @property
    def removals(self) -> list[Removal]:
        """Those of the table."""
        return leave_one_out(self.table["train_index"])

    @property
    def agreements(self) -> dict[tuple[str, int], Agreement]:
        """By method and test point."""
        return {
            (method, target): found.agreement
            for target, point in self.summary.items()
            for method, found in point.methods.items()
        }


def join_changes(session: Session) -> JoinedChanges:
    """Join what `influence` predicted with what `retrain` found; nothing is written.

    Raises:
        StageError: an earlier stage is missing.
    """
    config, folder, model = session.config, session.folder, session.model()
    risk, targets = session.risk, session.targets(model)
    chosen = points_without_predictions(config, risk.num_examples)
    predictions = read_predictions(folder, config, model.key, targets, chosen)
    for prediction in predictions:
        if age := age_in_words(prediction.record):
            warn(f"{age}. Anew: {session.command('influence', '--method', prediction.method)}")
    truth = known_changes(session, model, selected_removals(predictions))
    _warn_of_other_quadratics(config, predictions)
    certificates = {one.method: certified_points(folder, one.record) for one in predictions}
    table = _join(predictions, truth, targets, selection_name(config), certificates)
    _warn_of_what_is_not_corrected(session, predictions, table)
    return JoinedChanges(
        risk=risk,
        retrainer=make_retrainer(session, model),
        model=model,
        predictions=predictions,
        table=table,
        summary=summarise(table, predictions, truth, targets),
        selection=describe_selection(config, risk.num_examples, len(targets)),
    )


def _warn_of_other_quadratics(config: Config, predictions: list[Prediction]) -> None:
    """A prediction with another damping is one of another quadratic."""
    asked = config["retrain"]["damping"]
    for one in predictions:
        own = one.record.settings.get("damping", asked)
        if asked is not None and own != asked:
            warn(
                f"{one.method} predicts with influence.damping={own:g}, and the truth is of the quadratic "
                f"with retrain.damping={asked:g}: they answer different questions"
            )


def _warn_of_what_is_not_corrected(
    session: Session, predictions: list[Prediction], table: pd.DataFrame
) -> None:
    """Only what a method has certified does it correct; points that were chosen later it has not."""
    for one in predictions:
        certified = table.loc[table["method"] == one.method, "predicted_certificate"].notna()
        if corrects(one.record) and not certified.all():
            again = session.command("influence", "--method", one.method)
            warn(
                f"{one.method} has certified, and so corrected, {certified.sum()} of the {len(certified)} "
                f"points shown. Run: {again}"
            )


def actual_changes(truth: Changes, targets: list[int]) -> pd.DataFrame:
    """What leaving out single points changes: a row for each test point and point that was left out."""
    parts = [
        pd.DataFrame(
            {
                "test_index": target,
                "train_index": truth.points,
                **known_of(truth, row, truth.is_point),
            }
        )
        for row, target in enumerate(targets)
    ]
    return pd.concat(parts, ignore_index=True)


def known_of(truth: Changes, row: int, columns: list[int] | Bool[np.ndarray, " B"]) -> dict[str, np.ndarray]:
    """What is known of some removals and one test point, as tables of points and of groups have it."""
    return {
        "actual_change": truth.actual_change[row, columns],
        "certificate": truth.bound[row, columns],
        "truth": np.array(truth.truth, dtype=object)[columns],
        "margin": truth.margin[columns],
    }


def summarise(
    table: pd.DataFrame, predictions: list[Prediction], truth: Changes, targets: list[int]
) -> Summary:
    """How well each method agrees for each test point, in a table of points or of groups."""
    nothing = truth.null_control
    return {
        target: PointSummary(
            methods={
                prediction.method: MethodSummary(
                    agreement=_agreement(table, prediction.method, target), seconds=prediction.seconds(target)
                )
                for prediction in predictions
            },
            max_certificate=float(table.loc[table["test_index"] == target, "certificate"].max()),
            null_control=float(truth.actual_change[row, nothing]),
            null_control_certificate=float(truth.bound[row, nothing]),
            basins=basins_of(table[table["test_index"] == target]),
        )
        for row, target in enumerate(targets)
    }


def known_changes(session: Session, model: TrainedModel, removals: list[Removal]) -> Changes:
    """The actual changes of removals and of none, all of which must have been retrained.

    Raises:
        StageError: models are missing.
    """
    wanted = with_null_control(removals)
    truth = make_retrainer(session, model).changes(*session.test_examples(session.targets(model)), wanted)
    missing = set(wanted).difference(truth.removals)
    if missing:
        raise StageError(
            f"{len(missing)} of {len(wanted)} retrained models are missing from {session.folder.weights}. "
            f"{_where_they_are(session, model, missing, len(wanted))}Run first: {session.command('retrain')}"
        )
    return truth


def _where_they_are(session: Session, model: TrainedModel, missing: set[Removal], wanted: int) -> str:
    """Where models may be that are not here; empty where nothing speaks for their being elsewhere."""
    record, weights = session.folder.retrain_record, session.folder.weights
    lost = missing & recorded(session.folder, model.key, retrain_settings(session.config), missing)
    if lost:
        return (
            f"{record} says that {len(lost)} of them were solved. If this folder is a copy, it is "
            f"incomplete: copy the rest of {weights} from where it was made. "
        )
    if len(missing) < wanted and not record.is_file():
        return (
            "A retraining was interrupted here; or it ran on several machines, and then process 0, whose "
            "machine `repro retrain` named at its end, has all models: go on in the run folder there. "
        )
    return ""


def _join(
    predictions: list[Prediction],
    truth: Changes,
    targets: list[int],
    selection: str,
    certificates: dict[str, pd.DataFrame],
) -> pd.DataFrame:
    keys = ["test_index", "train_index"]
    predicted = pd.concat(
        [
            p.selected.assign(method=p.method).merge(certificates[p.method], on=keys, how="left")
            for p in predictions
        ]
    )
    # The certificate is of a change that was found in another order of summation.
    apart = (predicted["predicted_change"] - predicted.pop("certified_change")).abs()
    predicted["predicted_certificate"] += apart
    actual = actual_changes(truth, targets)
    joined = predicted.merge(actual, on=keys, validate="many_to_one")
    assert len(joined) == len(predicted)
    return joined.assign(selection=selection)[list(COLUMNS)]


def _agreement(table: pd.DataFrame, method: str, target: int) -> Agreement:
    rows = comparable(table[(table["method"] == method) & (table["test_index"] == target)])
    return agreement(rows["predicted_change"].to_numpy(), rows["actual_change"].to_numpy())
