"""Are stored leave-one-out weights what is recorded of them? Recomputed by plain formulas.

The formulas share nothing with the solver: no difference form, no preconditioner, no float32, no dropped
features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from retrain.certificate import gradient_rounding_bound
from retrain.removal import CHUNK_ROWS, NOTHING, removal_problem
from retrain.weights import LeaveOneOutWeights

CHUNK_MODELS = 32


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """What plain formulas find of B stored models and t test points."""

    indices: Int[np.ndarray, " B"]
    gradient_norms: Float[np.ndarray, " B"]
    """‖∇R₋ᵢ(θ̂ + Δᵢ)‖ at the weights as stored."""
    as_recorded: Bool[np.ndarray, " B"]
    """Whether norm and distance bound are those recorded, but for rounding."""
    actual_change: Float[np.ndarray, "t B"]
    """ℓ(z_test, θ̂ + Δᵢ) − ℓ(z_test, θ̂), as a difference of two losses."""


def recheck(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    part: LeaveOneOutWeights,
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> Rechecked:
    """Recompute gradients and test losses of stored models in float64.

    The norm recorded was measured at the weights as stored. So it and the norm found here differ by rounding
    alone: by ρ of the solver's formulas and ρ of these. And the bound recorded may not be smaller than what
    this norm and its ρ imply.

    Args:
        risk: the empirical risk over all training examples.
        theta: its minimiser θ̂.
        part: stored models.
        x_test: test examples without bias column.
        y_test: their labels.
    """
    norms, changes = [], []
    before = risk.losses(theta, x_test, y_test)
    for rows in np.array_split(np.arange(len(part.indices)), -(-len(part.indices) // CHUNK_MODELS)):
        differences = aligned(torch.from_numpy(part.differences[rows]), like=risk.x)
        weights = risk.weights(theta) + differences
        norms.append(_gradients(risk, weights, part.indices[rows]).flatten(1).norm(dim=1))
        changes += [risk.losses(one.flatten(), x_test, y_test) - before for one in weights]
    found = torch.cat(norms).cpu().numpy()
    lengths = torch.from_numpy(part.lengths()).to(risk.x)
    rounding = gradient_rounding_bound(removal_problem(risk, theta), lengths).cpu().numpy()
    recorded_rounding = risk.l2 * part.distance_bounds - part.gradient_norms
    return Rechecked(
        indices=part.indices,
        gradient_norms=found,
        as_recorded=(np.abs(found - part.gradient_norms) <= recorded_rounding + rounding)
        & (recorded_rounding >= (1 - 1e-6) * rounding),
        actual_change=torch.stack(changes, dim=1).cpu().numpy(),
    )


def _gradients(
    risk: SoftmaxRisk, weights: Float[Tensor, "b K d"], indices: Int[np.ndarray, " b"]
) -> Float[Tensor, "b K d"]:
    """∇R₋ᵢ at each model's own weights: the sum over all examples less the removed one, then mean and L2."""
    num_models, num_classes, num_features = weights.shape
    summed = torch.zeros_like(weights)
    for start in range(0, risk.num_examples, CHUNK_ROWS):
        x, labels = risk.x[start : start + CHUNK_ROWS], risk.labels[start : start + CHUNK_ROWS]
        logits = (x @ weights.view(-1, num_features).T).view(-1, num_models, num_classes)
        residuals = torch.softmax(logits, dim=2) - labels[:, None, :]
        summed += (residuals.flatten(1).T @ x).view_as(weights)
    for row, index in enumerate(indices.tolist()):
        if index != NOTHING:
            residual = torch.softmax(weights[row] @ risk.x[index], dim=0) - risk.labels[index]
            summed[row] -= torch.outer(residual, risk.x[index])
    left = torch.from_numpy(risk.num_examples - (indices != NOTHING)).to(summed)
    return summed / left[:, None, None] + risk.l2 * weights
