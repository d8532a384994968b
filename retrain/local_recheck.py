"""Are stored models what is recorded of them, where certificates are local?

The gradient is that of the risk over the rows that are left, one model at a time: no `vmap`, no subtraction
of removed rows. Smallest eigenvalue and M are measured anew, and the distance that they imply may not be
larger than the recorded one. Labels are not computed again.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import EmpiricalRisk
from retrain.local_problem import LocalProblem, surroundings
from retrain.recheck import Rechecked
from retrain.removed_risks import SingleRisks
from retrain.weight_file import RetrainedWeights

CHUNK_MODELS = 64
MEASURED_AGAIN = 0.1
"""Relative difference that another batch makes in what is measured of curvature."""


def local_recheck(
    risk: EmpiricalRisk,
    problem: LocalProblem,
    part: RetrainedWeights,
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> Rechecked:
    """Recompute gradients, what certificates are made of, and test losses of stored models.

    Args:
        risk: the empirical risk over all training examples.
        problem: the risks around θ̂.
        part: stored models.
        x_test: test examples.
        y_test: their labels.
    """
    theta, labels = problem.theta, y_test.to(problem.theta.device)
    before = risk.losses(theta, x_test, labels)
    plain, norms, changes, sound = SingleRisks(risk), [], [], []
    for places in np.array_split(np.arange(len(part.removals)), -(-len(part.removals) // CHUNK_MODELS)):
        some = part.select(places)
        differences = torch.from_numpy(some.differences[:, 0]).to(theta)
        for rows, model in zip(some.removals, problem.thetas(differences), strict=True):
            norms.append(plain.gradients(model[None], (rows,)).without.norm())
            changes.append(risk.losses(model, x_test, labels) - before)
        sound.append(_certificates_follow(problem, some, differences))
    found = torch.stack(norms).cpu().numpy()
    return Rechecked(
        removals=part.removals,
        gradient_norms=found,
        as_recorded=(np.abs(found - part.gradient_norms) <= 2 * problem.rounding) & np.concatenate(sound),
        actual_change=torch.stack(changes, dim=1).cpu().numpy(),
    )


def _certificates_follow(
    problem: LocalProblem, part: RetrainedWeights, differences: Float[Tensor, "b p"]
) -> np.ndarray:
    """Whether distances and margins are no better than what is measured now."""
    if part.local is None:
        return np.zeros(len(part.removals), dtype=bool)
    shares = torch.ones_like(differences[:, 0])
    gradients = problem.risks.gradients(problem.thetas(differences), part.removals)
    found = surroundings(problem, part.removals, differences, shares, gradients).certificates(shares)
    distances = (found.distances / problem.factor.smallest**0.5).cpu().numpy()
    follow: np.ndarray = (part.distance_bounds >= (1 - MEASURED_AGAIN) * distances) & (
        part.local.margins <= (1 + MEASURED_AGAIN) * found.margins.cpu().numpy()
    )
    return follow
