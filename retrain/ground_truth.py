"""Actual changes of any test loss, read off stored weights: nothing is retrained."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from retrain.certificate import distance_bound, loss_change, loss_error_bound, loss_rounding_bound
from retrain.changes import Changes, TestFeatures, TestLabels
from retrain.prepare import removal_problem
from retrain.removal import NOTHING, Removal, RemovalBatch
from retrain.weight_file import RetrainedWeights

CHUNK_MODELS = 512
"""Models whose weights are in float64 at once."""


def ground_truth(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    parts: Iterable[RetrainedWeights],
    x_test: TestFeatures,
    y_test: TestLabels,
) -> Changes:
    """Actual changes with their certificates, by ascending removal.

    Args:
        parts: stored models, such as `WeightCache.parts` reads them; each is let go of once it
            is used.
    """
    features = risk.features(x_test).double()
    classes = risk.weights(theta).double()
    log_probabilities = torch.log_softmax(features @ classes.T, dim=1)
    labels = torch.nn.functional.one_hot(y_test, risk.num_classes).to(log_probabilities)
    fit_distance = _fit_distance(risk, theta)
    removals, changes, certificates = list[Removal](), list[Tensor](), list[Tensor]()
    empty = features.new_empty(len(features), 0)
    for part in parts:
        distances = torch.from_numpy(part.distance_bounds).to(features) + fit_distance
        lengths = torch.from_numpy(part.lengths()).to(features)
        rounding = loss_rounding_bound(features, risk.num_classes, classes.norm(), lengths)
        removals += part.removals
        certificates.append(loss_error_bound(features, distances) + rounding)
        changes += [
            loss_change(features, log_probabilities, labels, aligned(torch.from_numpy(rows), like=features))
            for rows in np.array_split(part.differences, -(-len(part.removals) // CHUNK_MODELS))
        ]
    order = sorted(range(len(removals)), key=removals.__getitem__)
    return Changes(
        removals=tuple(removals[place] for place in order),
        actual_change=torch.cat([empty, *changes], dim=1).cpu().numpy()[:, order],
        certificate=torch.cat([empty, *certificates], dim=1).cpu().numpy()[:, order],
    )


def _fit_distance(risk: SoftmaxRisk, theta: Float[Tensor, " p"]) -> Float[Tensor, " 1"]:
    """Bound on the distance of θ̂, as fitted, from the minimiser of R."""
    problem = removal_problem(risk, theta)
    nothing = RemovalBatch((NOTHING,), problem.x.device)
    norm = problem.gradient_at_fit(nothing).flatten(1).norm(dim=1)
    return distance_bound(problem, nothing.sizes, norm, torch.zeros_like(norm))
