"""Are stored models what is recorded of them, where certificates are local?

The gradient is that of the risk over the rows that are left, one model at a time: no `vmap`, no subtraction
of removed rows. Smallest eigenvalue and M are measured anew, and the distance that they imply may not be
larger than the recorded one. From them the link between θ̂ and a model is found again; the path of a model
that has none is followed again.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erm.risk import EmpiricalRisk
from retrain.changes import TestFeatures, TestLabels
from retrain.continuation import LABELS, UNDECIDED, label
from retrain.local_changes import loss_changes, models_of
from retrain.local_problem import LocalProblem, Surroundings, surroundings
from retrain.recheck import PathsAgain, Rechecked
from retrain.removal import Removal
from retrain.removed_risks import without_rows
from retrain.weight_file import RetrainedWeights

CHUNK_MODELS = 64
MEASURED_AGAIN = 0.1
"""Relative difference that another batch makes in what is measured of curvature."""


def local_recheck(
    risk: EmpiricalRisk,
    problem: LocalProblem,
    part: RetrainedWeights,
    x_test: TestFeatures,
    y_test: TestLabels,
) -> Rechecked:
    """Recompute gradients, what certificates are made of, and test losses of stored models."""
    theta, labels = problem.theta, y_test.to(problem.theta.device)
    norms, sound, labels_hold, points = [], [], [], []
    for places in np.array_split(np.arange(len(part.removals)), -(-len(part.removals) // CHUNK_MODELS)):
        some = part.select(places)
        differences = torch.from_numpy(some.differences[:, 0]).to(theta)
        for rows, model in zip(some.removals, problem.thetas(differences), strict=True):
            norms.append(without_rows(risk, rows).gradient(model).norm())
        found = _measured(problem, some.removals, differences)
        sound.append(_certificates_follow(problem, some, found))
        again = _paths(problem, some, found)
        labels_hold.append(again.as_recorded)
        points.append(again.points)
    recomputed = torch.stack(norms).cpu().numpy()
    return Rechecked(
        removals=part.removals,
        gradient_norms=recomputed,
        as_recorded=(np.abs(recomputed - part.gradient_norms) <= 2 * problem.rounding)
        & np.concatenate(sound),
        actual_change=loss_changes(risk, theta, models_of(theta, part), x_test, labels),
        paths=PathsAgain(np.concatenate(labels_hold), np.concatenate(points)),
    )


def _measured(
    problem: LocalProblem, removals: tuple[Removal, ...], differences: Float[Tensor, "b p"]
) -> Surroundings:
    gradients = problem.risks.derivatives(1, problem.thetas(differences), removals)
    return surroundings(problem, removals, differences, torch.ones_like(differences[:, 0]), gradients)


def _certificates_follow(
    problem: LocalProblem, part: RetrainedWeights, measured: Surroundings
) -> Bool[np.ndarray, " b"]:
    """Whether distances and margins are no better than what is measured now."""
    if part.local is None:
        return np.zeros(len(part.removals), dtype=bool)
    found = measured.certificates(measured.shares)
    distances = (found.distances / problem.factor.smallest**0.5).cpu().numpy()
    follow: np.ndarray = (part.distance_bounds >= (1 - MEASURED_AGAIN) * distances) & (
        part.local.margins <= (1 + MEASURED_AGAIN) * found.margins.cpu().numpy()
    )
    return follow


def _paths(problem: LocalProblem, part: RetrainedWeights, measured: Surroundings) -> PathsAgain:
    """Labels found again. `undecided` claims nothing, so that nothing contradicts it."""
    if part.local is None:
        none = np.zeros(len(part.removals), dtype=np.int64)
        return PathsAgain(none.astype(bool), none)
    again = label(problem, part.removals, measured, float(part.tolerances.min()))
    moved = (again.ends.differences != measured.differences).any(dim=1).cpu().numpy()
    same = (again.labels.cpu().numpy() == part.local.labels) & ~moved
    undecided: np.ndarray = part.local.labels == LABELS.index(UNDECIDED)
    return PathsAgain(same | undecided, again.points.cpu().numpy())
