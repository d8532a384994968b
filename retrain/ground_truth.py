"""Actual changes of any test loss, read off stored leave-one-out weights: nothing is retrained."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from retrain.certificate import (
    distance_bound,
    gradient_rounding_bound,
    loss_change,
    loss_error_bound,
    loss_rounding_bound,
)
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
    """Bound on the error of `actual_change`: both models' distances from their minimisers, and all
    rounding."""


def ground_truth(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    parts: Iterable[LeaveOneOutWeights],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> GroundTruth:
    """Actual changes with their certificates, by ascending index.

    Args:
        risk: the empirical risk that the weights belong to.
        theta: its minimiser θ̂.
        parts: stored leave-one-out models, such as `WeightCache.parts` reads them; each is let go of once it
            is used.
        x_test: test examples without bias column.
        y_test: their labels.
    """
    features = risk.features(x_test).double()
    classes = risk.weights(theta).double()
    log_probabilities = torch.log_softmax(features @ classes.T, dim=1)
    labels = torch.nn.functional.one_hot(y_test, risk.num_classes).to(log_probabilities)
    fit_distance = _fit_distance(risk, theta)
    indices, changes, certificates = [np.empty(0, dtype=np.int64)], [], []
    empty = features.new_empty(len(features), 0)
    for part in parts:
        distances = torch.from_numpy(part.distance_bounds).to(features) + fit_distance
        lengths = torch.from_numpy(part.lengths()).to(features)
        rounding = loss_rounding_bound(features, risk.num_classes, classes.norm(), lengths)
        indices.append(part.indices)
        certificates.append(loss_error_bound(features, distances) + rounding)
        changes += [
            loss_change(features, log_probabilities, labels, aligned(torch.from_numpy(rows), like=features))
            for rows in np.array_split(part.differences, -(-len(part.indices) // CHUNK_MODELS))
        ]
    joined = np.concatenate(indices)
    order = np.argsort(joined)
    return GroundTruth(
        indices=joined[order],
        actual_change=torch.cat([empty, *changes], dim=1).cpu().numpy()[:, order],
        certificate=torch.cat([empty, *certificates], dim=1).cpu().numpy()[:, order],
    )


def _fit_distance(risk: SoftmaxRisk, theta: Float[Tensor, " p"]) -> Float[Tensor, " 1"]:
    """Bound on the distance of θ̂, as fitted, from the minimiser of R."""
    problem = removal_problem(risk, theta)
    nothing = torch.tensor([NOTHING], device=problem.x.device)
    norm = problem.gradient_at_fit(nothing).flatten(1).norm(dim=1)
    return distance_bound(norm, gradient_rounding_bound(problem, torch.zeros_like(norm)), risk.l2)
