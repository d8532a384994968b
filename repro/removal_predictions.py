"""What a method predicts of the removals that an experiment makes, beyond its table of single points.

A sum of members is no Newton step of a group; and parameters that a method predicts can be certified without
retraining, at a gradient each. So both are found for the removals chosen, when the method runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from erm.softmax import SoftmaxRisk
from influence.estimator import GroupPredictor, ParameterPredictor, RemovalPredictor
from repro.explaining import Question
from repro.group_choice import by_size, groups_by_test_point
from repro.model_file import TrainedModel
from repro.records.influence import InfluenceRecord, read_table
from repro.records.removals import KEYS, name_of, own_predictions, read_removals_of
from repro.selection import makes_groups, points_by_influence, points_without_predictions
from repro.session import Session
from repro.step_functions import certified_steps
from retrain.removal import Removal, leave_one_out

MODELS_AT_ONCE = 512
"""Whose parameters and gradients are in memory together."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The removals of each test point, and which L2 they have."""

    removals: dict[int, list[Removal]]
    scaling: str


def chosen_removals(
    session: Session, model: TrainedModel, influence: Mapping[int, Float[np.ndarray, " n"]]
) -> Chosen:
    """What an experiment leaves out, by one method's I_up,loss of all training points for each test point.

    Raises:
        UsageError: the kind makes no removals that can be left out.
    """
    config, dataset = session.config, session.dataset
    if makes_groups(config):
        groups = groups_by_test_point(session, model, influence)
        return Chosen(removals=groups, scaling=config["retrain"]["l2_scaling"])
    points = points_without_predictions(config, len(dataset.y_train))
    return Chosen(
        removals={
            target: leave_one_out(points_by_influence(config, found) if points is None else points)
            for target, found in influence.items()
        },
        # Single points have the paper's convention.
        scaling="mean",
    )


def lacks_removals(session: Session, record: InfluenceRecord, targets: list[int]) -> bool:
    """Whether a method that predicts removals has not predicted those of this configuration."""
    folder = session.folder
    table = read_table(folder, record)
    if not record.predicts_groups or table is None:
        return False
    influence = {
        target: table.loc[table["test_index"] == target, "influence"].to_numpy(np.float64)
        for target in targets
    }
    chosen, known = chosen_removals(session, session.model(), influence), read_removals_of(folder, record)
    return any(
        own_predictions(known, target, removals, chosen.scaling) is None
        for target, removals in chosen.removals.items()
    )


def predict_removals(question: Question, predictor: RemovalPredictor, chosen: Chosen) -> pd.DataFrame:
    """Predicted change and certificate of every chosen removal on every test point, for METHOD.parquet.

    Raises:
        NotDefiniteError: a Hessian is singular up to rounding.
    """
    removals = by_size(rows for own in chosen.removals.values() for rows in own)
    scales_l2 = chosen.scaling == "sum"
    if isinstance(predictor, ParameterPredictor):
        changes, certificates = _certified(question, predictor, removals, scales_l2)
    else:
        assert isinstance(predictor, GroupPredictor)
        found = predictor.groups(removals, *question.test, scales_l2=scales_l2)
        changes, certificates = found.cpu().numpy(), np.full(found.shape, np.nan)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "test_index": target,
                    "l2_scaling": chosen.scaling,
                    "removal": [name_of(rows) for rows in removals],
                    "size": [len(rows) for rows in removals],
                    "predicted_change": changes[place],
                    "predicted_certificate": certificates[place],
                }
            )
            for place, target in enumerate(question.targets)
        ],
        ignore_index=True,
    )


def with_earlier(found: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Both, the newer one where a removal is in both."""
    if earlier.empty:
        return found
    return pd.concat([earlier, found]).drop_duplicates(list(KEYS), keep="last", ignore_index=True)


def _certified(
    question: Question, predictor: ParameterPredictor, removals: list[Removal], scales_l2: bool
) -> tuple[Float[np.ndarray, "t B"], Float[np.ndarray, "t B"]]:
    """What is predicted by way of parameters, and how far it can be from the changes at the minimisers."""
    # That the model is this one is what the predictor was made for.
    assert isinstance(question.risk, SoftmaxRisk)
    changes, certificates = [], []
    tell = question.progress("parameters of removals, certified")
    for start in range(0, len(removals), MODELS_AT_ONCE):
        part = removals[start : start + MODELS_AT_ONCE]
        tell(start, len(removals))
        found = certified_steps(
            predictor, question.risk, question.theta, part, *question.test, scales_l2=scales_l2
        )
        changes.append(found.predicted_change.cpu().numpy())
        certificates.append(found.certificate.cpu().numpy())
    tell(len(removals), len(removals))
    return np.concatenate(changes, axis=1), np.concatenate(certificates, axis=1)
