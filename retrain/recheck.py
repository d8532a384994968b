"""Are stored leave-one-out weights what is recorded of them? Recomputed by plain formulas, not the solver.

None of its devices is used here: no difference form, no preconditioner, no float32, no dropped features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from retrain.removal import NOTHING
from retrain.weights import LeaveOneOutWeights

CHUNK_MODELS = 32
FLOAT32_ROUNDOFF = 2.0**-24


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """What plain formulas find of B stored models and t test points."""

    indices: Int[np.ndarray, " B"]
    gradient_norms: Float[np.ndarray, " B"]
    """‖∇R₋ᵢ(θ̂ + Δᵢ)‖ at the weights as stored."""
    allowed: Float[np.ndarray, " B"]
    """The largest gradient norm that the recorded bound and the rounding of the storage leave room for."""
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

    R₋ᵢ is smooth with L = l2 + ½·mean‖x‖²·n/(n − 1). So a model whose gradient norm l2·D gave the bound D,
    and that was then rounded by δ, has ‖∇R₋ᵢ‖ ≤ l2·D + L‖δ‖, and ‖δ‖ ≤ 2⁻²⁴‖Δ‖.

    Args:
        risk: the empirical risk over all training examples.
        theta: its minimiser θ̂.
        part: stored models.
        x_test: test examples without bias column.
        y_test: their labels.
    """
    n = risk.num_examples
    smoothness = risk.l2 + 0.5 * float(risk.x.square().sum(1).mean()) * n / (n - 1)
    norms, changes = [], []
    before = risk.losses(theta, x_test, y_test)
    for rows in np.array_split(np.arange(len(part.indices)), -(-len(part.indices) // CHUNK_MODELS)):
        differences = aligned(torch.from_numpy(part.differences[rows]), like=risk.x)
        weights = risk.weights(theta) + differences
        norms.append(_gradients(risk, weights, part.indices[rows]).flatten(1).norm(dim=1))
        changes += [risk.losses(one.flatten(), x_test, y_test) - before for one in weights]
    lengths = np.linalg.norm(part.differences.reshape(len(part.indices), -1).astype(np.float64), axis=1)
    return Rechecked(
        indices=part.indices,
        gradient_norms=torch.cat(norms).cpu().numpy(),
        allowed=risk.l2 * part.distance_bounds + smoothness * FLOAT32_ROUNDOFF * lengths,
        actual_change=torch.stack(changes, dim=1).cpu().numpy(),
    )


def _gradients(
    risk: SoftmaxRisk, weights: Float[Tensor, "b K d"], indices: Int[np.ndarray, " b"]
) -> Float[Tensor, "b K d"]:
    """∇R₋ᵢ at each model's own weights: the sum over all examples less the removed one, then mean and L2."""
    num_models, num_classes, num_features = weights.shape
    logits = (risk.x @ weights.view(-1, num_features).T).view(-1, num_models, num_classes)
    residuals = torch.softmax(logits, dim=2) - risk.labels[:, None, :]
    summed = (residuals.flatten(1).T @ risk.x).view_as(weights)
    left = []
    for row, index in enumerate(indices.tolist()):
        if index != NOTHING:
            summed[row] -= torch.outer(residuals[index, row], risk.x[index])
        left.append(risk.num_examples - (index != NOTHING))
    return summed / torch.tensor(left).to(summed)[:, None, None] + risk.l2 * weights
