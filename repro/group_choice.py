"""Which groups an experiment leaves out: by its configuration alone, or by each method's predictions."""

import json
from dataclasses import dataclass

import numpy as np

from repro.model_file import TrainedModel
from repro.predictions import Prediction, read_predictions
from repro.selection import chosen_groups, needs_influence, shares_groups
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
    return GroupChoice(
        predictions=predictions,
        groups={
            (found.method, target): _chosen(session, model, found, targets, target)
            for found in predictions
            for target in targets
        },
    )


def _chosen(
    session: Session, model: TrainedModel, prediction: Prediction, targets: list[int], target: int
) -> list[Removal]:
    """The groups of one method for one test point, which may be those of all."""
    config = session.config
    name = [model.key, config["removals"]]
    influences = None
    if needs_influence(config):
        choosing = targets if shares_groups(config) else [target]
        name += [prediction.record.table_checksum, choosing]
        influences = np.stack([of(prediction, test) for test in choosing])
    return session.kept_groups(
        json.dumps(name, default=str), lambda: chosen_groups(config, session.dataset, influences)
    )


def groups_to_retrain(session: Session, model: TrainedModel) -> list[Removal]:
    """The groups alone, for which predictions are read only where these choose them. Raises as above."""
    if needs_influence(session.config):
        return choose_groups(session, model).removals
    return sorted(chosen_groups(session.config, session.dataset), key=lambda rows: (len(rows), rows))


def of(prediction: Prediction, target: int) -> np.ndarray:
    """I_up,loss of all training points on one test point."""
    table = prediction.selected
    found: np.ndarray = table.loc[table["test_index"] == target, "influence"].to_numpy(dtype=np.float64)
    return found
