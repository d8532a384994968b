"""Which groups an experiment leaves out: by its configuration alone, or by each method's predictions."""

import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float

from repro.model_file import TrainedModel
from repro.predictions import Prediction, read_predictions
from repro.selection import asked_by_kind, chosen_groups, needs_influence
from repro.session import Session
from retrain.removal import Removal


def by_size(removals: Iterable[Removal]) -> list[Removal]:
    """Each once, small ones first; the place in this order is what `removal` of groups.csv names."""
    return sorted(set(removals), key=lambda rows: (len(rows), rows))


def choose_groups(
    session: Session, model: TrainedModel
) -> tuple[list[Prediction], dict[tuple[str, int], list[Removal]]]:
    """What the methods predict of all training points, in order, and the groups by method and test point.

    Raises:
        StageError: no method fits this configuration.
        UsageError: the kind makes no groups that can be left out.
    """
    config, targets = session.config, session.targets(model)
    everything = list(range(session.risk.num_examples))
    predictions = read_predictions(session.folder, config, model.key, targets, everything)
    return predictions, {
        (found.method, target): groups
        for found in predictions
        for target, groups in groups_by_test_point(
            session, model, {target: of(found, target) for target in targets}
        ).items()
    }


def groups_by_test_point(
    session: Session, model: TrainedModel, influence: Mapping[int, Float[np.ndarray, " n"]]
) -> dict[int, list[Removal]]:
    """The groups that a method's I_up,loss of all training points choose for each test point, maybe for all.

    Raises:
        UsageError: the kind makes no groups that can be left out.
    """
    config, at = session.config, (session.risk_on(model.theta.device), model.theta)

    def choose(choosing: list[int]) -> list[Removal]:
        influences = np.stack([influence[target] for target in choosing]) if choosing else None
        digest = "" if influences is None else hashlib.sha256(influences.tobytes()).hexdigest()
        return session.kept_groups(
            json.dumps([model.key, config["removals"], digest], default=str),
            lambda: chosen_groups(config, session.dataset, influences, model=at),
        )

    if not needs_influence(config):
        return dict.fromkeys(influence, choose([]))
    if "influences" in asked_by_kind(config):
        return dict.fromkeys(influence, choose(list(influence)))
    return {target: choose([target]) for target in influence}


def groups_to_retrain(session: Session, model: TrainedModel) -> list[Removal]:
    """The groups alone, for which predictions are read only where these choose them. Raises as above."""
    if needs_influence(session.config):
        _, groups = choose_groups(session, model)
        return by_size(rows for own in groups.values() for rows in own)
    at = session.risk_on(model.theta.device), model.theta
    return by_size(chosen_groups(session.config, session.dataset, model=at))


def of(prediction: Prediction, target: int) -> np.ndarray:
    """I_up,loss of all training points on one test point."""
    table = prediction.selected
    found: np.ndarray = table.loc[table["test_index"] == target, "influence"].to_numpy(dtype=np.float64)
    return found
