"""Actual changes of any test loss, read off stored leave-one-out weights: nothing is retrained."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.softmax import SoftmaxRisk
from retrain.certificate import distance_bound, gradient_rounding_bound, loss_change, loss_error_bound
from retrain.removal import NOTHING, removal_problem
from retrain.weights import LeaveOneOutWeights

CHUNK_MODELS = 512
"""Models whose weights are in float64 at once."""


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """ℓ(z_test, θ̂₋ᵢ) − ℓ(z_test, θ̂) for t test points and B left-out points, cross-entropy alone."""

    indices: Int[np.ndarray, " B"]
    """Training points left out, `NOTHING` for the null control."""
    actual_change: Float[np.ndarray, "t B"]
    certificate: Float[np.ndarray, "t B"]
    """Bound on the error of `actual_change`, that of θ̂ itself included."""


def ground_truth(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    weights: LeaveOneOutWeights,
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> GroundTruth:
    """Actual changes with their certificates.

    Args:
        risk: the empirical risk that the weights belong to.
        theta: its minimiser θ̂.
        weights: stored leave-one-out models.
        x_test: test examples without bias column.
        y_test: their labels.
    """
    features = risk.features(x_test).double()
    classes = risk.weights(theta).double()
    probabilities = torch.softmax(features @ classes.T, dim=1)
    labels = torch.nn.functional.one_hot(y_test, risk.num_classes).to(probabilities)
    changes = [
        loss_change(features, probabilities, labels, torch.from_numpy(part).to(features))
        for part in np.array_split(weights.differences, -(-len(weights.indices) // CHUNK_MODELS))
    ]
    distances = torch.from_numpy(weights.distance_bounds).to(features) + _fit_distance(risk, theta)
    return GroundTruth(
        indices=weights.indices,
        actual_change=torch.cat(changes, dim=1).cpu().numpy(),
        certificate=loss_error_bound(features, distances).cpu().numpy(),
    )


def _fit_distance(risk: SoftmaxRisk, theta: Float[Tensor, " p"]) -> Float[Tensor, " 1"]:
    """Bound on the distance of θ̂, as fitted, from the minimiser of R."""
    problem = removal_problem(risk, theta)
    nothing = torch.tensor([NOTHING], device=problem.x.device)
    norm = problem.gradient_at_fit(nothing).flatten(1).norm(dim=1)
    return distance_bound(norm, gradient_rounding_bound(problem, torch.zeros_like(norm)), risk.l2)
