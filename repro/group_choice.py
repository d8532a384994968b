"""Which groups an experiment leaves out: by its configuration alone, or by each method's predictions."""

from dataclasses import dataclass

import numpy as np

from repro.model_file import TrainedModel
from repro.predictions import Prediction, read_predictions
from repro.selection import chosen_groups, needs_influence
from repro.session import Session
from retrain.removal import Removal


@dataclass(frozen=True, kw_only=True)
class GroupChoice:
    """The groups of each method and test point, beside what the methods predict of all training points."""

    predictions: list[Prediction]
    """Each with all training points, in order, of every test point."""
    groups: dict[tuple[str, int], list[Removal]]
    """By method and test point."""

    @property
    def removals(self) -> list[Removal]:
        """All of them, by size; the place in this list is what `removal` of groups.csv names."""
        union = {rows for groups in self.groups.values() for rows in groups}
        return sorted(union, key=lambda rows: (len(rows), rows))


def choose_groups(session: Session, model: TrainedModel) -> GroupChoice:
    """Read the predictions, and choose.

    Raises:
        StageError: no method fits this configuration.
        UsageError: the kind makes no groups that can be left out.
    """
    config, targets = session.config, session.targets(model)
    everything = list(range(session.risk.num_examples))
    predictions = read_predictions(session.folder, config, model.key, targets, everything)
    at = session.risk_on(model.theta.device), model.theta
    known = None if needs_influence(config) else chosen_groups(config, session.dataset, model=at)
    return GroupChoice(
        predictions=predictions,
        groups={
            (found.method, target): known
            or chosen_groups(config, session.dataset, of(found, target), model=at)
            for found in predictions
            for target in targets
        },
    )


def groups_to_retrain(session: Session, model: TrainedModel) -> list[Removal]:
    """The groups alone, for which predictions are read only where these choose them. Raises as above."""
    if needs_influence(session.config):
        return choose_groups(session, model).removals
    at = session.risk_on(model.theta.device), model.theta
    return sorted(
        chosen_groups(session.config, session.dataset, model=at), key=lambda rows: (len(rows), rows)
    )


def of(prediction: Prediction, target: int) -> np.ndarray:
    """I_up,loss of all training points on one test point."""
    table = prediction.selected
    found: np.ndarray = table.loc[table["test_index"] == target, "influence"].to_numpy(dtype=np.float64)
    return found
