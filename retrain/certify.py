"""A certificate for any parameters: how far are they from the minimiser without some examples?"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.softmax import SoftmaxRisk
from retrain.certificate import distance_bound
from retrain.changes import Changes, TestFeatures, TestLabels
from retrain.ground_truth import ground_truth
from retrain.prepare import removal_problem
from retrain.recheck import plain_gradients
from retrain.removal import Removal
from retrain.weight_file import RetrainedWeights


def certified_changes(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    candidates: Float[Tensor, "B p"],
    removals: Sequence[Removal],
    x_test: TestFeatures,
    y_test: TestLabels,
    *,
    scales_l2: bool = False,
) -> tuple[Changes, Float[Tensor, "B p"]]:
    """Test losses at any parameters, as actual changes of removals, each with its certificate.

    R₋S is λ-strongly convex, so at any θ the loss is off by at most √2‖x‖·‖∇R₋S(θ)‖/λ from that at the
    minimiser: what the parameters were found by does not matter. One gradient per model is computed.

    Args:
        candidates: parameters that are said to minimise R₋S, one row for each removal.
        removals: S of each, every one different; from `retrain.removal.removal`.
        scales_l2: whether a removal keeps n·λ instead of λ.

    Returns:
        The changes, ascending by removal, and ∇R₋S at the candidates, in the order given.

    Raises:
        ValueError: a candidate holds NaN or infinity, or there is not one for each removal.
    """
    if len(candidates) != len(removals):
        raise ValueError(f"{len(candidates)} candidates for {len(removals)} removals: expected one for each")
    if not torch.isfinite(candidates).all():
        raise ValueError("a candidate holds NaN or infinity")
    differences = (candidates - theta).view(len(candidates), risk.num_classes, risk.num_features)
    weights = risk.weights(theta) + differences
    gradients = plain_gradients(risk, weights, tuple(removals), scales_l2=scales_l2)
    norms, lengths = (tensor.flatten(1).norm(dim=1) for tensor in (gradients, differences))
    sizes = torch.tensor([len(rows) for rows in removals]).to(norms)
    problem = removal_problem(risk, theta, scales_l2=scales_l2)
    part = RetrainedWeights(
        removals=tuple(removals),
        differences=differences.cpu().numpy(),
        gradient_norms=norms.cpu().numpy(),
        distance_bounds=distance_bound(problem, sizes, norms, lengths).cpu().numpy(),
        passes=np.ones(len(removals), dtype=np.int64),
        tolerances=np.full(len(removals), np.inf),
    )
    changes = ground_truth(risk, theta, [part], x_test, y_test.to(risk.x.device))
    return changes, gradients.flatten(1)
