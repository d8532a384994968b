"""Are stored weights what is recorded of them? Recomputed by plain formulas.

The formulas share nothing with the solver: no difference form, no preconditioner, no float32, no dropped
features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erm.aligned import aligned
from erm.pass_order import CHUNK_ROWS
from erm.softmax import SoftmaxRisk
from retrain.certificate import gradient_rounding_bound
from retrain.changes import TestFeatures, TestLabels
from retrain.prepare import removal_problem
from retrain.removal import Removal
from retrain.weight_file import RetrainedWeights

CHUNK_MODELS = 32


@dataclass(frozen=True)
class PathsAgain:
    """The paths from θ̂ to B models, where there may be other minima, found again."""

    as_recorded: Bool[np.ndarray, " B"]
    """Whether the path ends as the label says, and at the stored model where it is of θ̂'s basin."""
    points: Int[np.ndarray, " B"]
    """Points that were computed between θ̂ and the model; 0 where the certificates of both link them."""


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """What plain formulas find of B stored models and t test points."""

    removals: tuple[Removal, ...]
    gradient_norms: Float[np.ndarray, " B"]
    """‖∇R₋S(θ̂ + Δ)‖ at the weights as stored."""
    as_recorded: Bool[np.ndarray, " B"]
    """Whether norm and distance bound are those recorded, but for rounding."""
    actual_change: Float[np.ndarray, "t B"]
    """ℓ(z_test, θ̂ + Δ) − ℓ(z_test, θ̂), as a difference of two losses."""
    paths: PathsAgain | None = None
    """None where there is one minimum."""


def recheck(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    part: RetrainedWeights,
    x_test: TestFeatures,
    y_test: TestLabels,
    *,
    scales_l2: bool = False,
) -> Rechecked:
    """Recompute gradients and test losses of stored models in float64.

    The norm recorded was measured at the weights as stored. So it and the norm found here differ by rounding
    alone: by ρ of the solver's formulas and ρ of these. And the bound recorded may not be smaller than what
    this norm and its ρ imply.

    Args:
        scales_l2: whether removals keep n·λ instead of λ.
    """
    norms, changes = [], []
    before = risk.losses(theta, x_test, y_test)
    for rows in np.array_split(np.arange(len(part.removals)), -(-len(part.removals) // CHUNK_MODELS)):
        differences = aligned(torch.from_numpy(part.differences[rows]), like=risk.x)
        weights = risk.weights(theta) + differences
        norms.append(
            plain_gradients(risk, weights, part.select(rows).removals, scales_l2=scales_l2)
            .flatten(1)
            .norm(dim=1)
        )
        changes += [risk.losses(one.flatten(), x_test, y_test) - before for one in weights]
    found = torch.cat(norms).cpu().numpy()
    lengths = torch.from_numpy(part.lengths()).to(risk.x)
    sizes = torch.from_numpy(part.sizes()).to(risk.x)
    problem = removal_problem(risk, theta, scales_l2=scales_l2)
    rounding = gradient_rounding_bound(problem, sizes, lengths).cpu().numpy()
    l2 = np.asarray(problem.l2_of(sizes))
    recorded_rounding = l2 * part.distance_bounds - part.gradient_norms
    return Rechecked(
        removals=part.removals,
        gradient_norms=found,
        as_recorded=(np.abs(found - part.gradient_norms) <= recorded_rounding + rounding)
        & (recorded_rounding >= (1 - 1e-6) * rounding),
        actual_change=torch.stack(changes, dim=1).cpu().numpy(),
    )


def plain_gradients(
    risk: SoftmaxRisk,
    weights: Float[Tensor, "b K d"],
    removals: tuple[Removal, ...],
    *,
    scales_l2: bool = False,
) -> Float[Tensor, "b K d"]:
    """∇R₋S at each model's own weights: the sum over all examples less the removed ones, then mean and L2."""
    num_models, num_classes, num_features = weights.shape
    summed = torch.zeros_like(weights)
    for start in range(0, risk.num_examples, CHUNK_ROWS):
        x, labels = risk.x[start : start + CHUNK_ROWS], risk.labels[start : start + CHUNK_ROWS]
        logits = (x @ weights.view(-1, num_features).T).view(-1, num_models, num_classes)
        residuals = torch.softmax(logits, dim=2) - labels[:, None, :]
        summed += (residuals.flatten(1).T @ x).view_as(weights)
    for place, rows in enumerate(removals):
        removed = torch.tensor(rows, dtype=torch.int64, device=risk.x.device)
        for chunk in torch.split(removed, CHUNK_ROWS):
            residuals = torch.softmax(risk.x[chunk] @ weights[place].T, dim=1) - risk.labels[chunk]
            summed[place] -= residuals.T @ risk.x[chunk]
    left = torch.tensor([risk.num_examples - len(rows) for rows in removals]).to(summed)
    scale = risk.num_examples / left if scales_l2 else torch.ones_like(left)
    return summed / left[:, None, None] + risk.l2 * scale[:, None, None] * weights
