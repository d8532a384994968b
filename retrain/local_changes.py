"""Actual changes of any test loss under stored models, each with its local certificate.

|ℓ(θ) − ℓ(θ*)| ≤ ‖∇ℓ(θ)‖r + c·r²/2, for the model and for θ̂, which is within ‖Δ₀‖ + r₀ of its own minimum, Δ₀
the null control's: there a model was solved that leaves out nothing. ∇ℓ is computed at the very model; c, the
curvature of a test loss, is measured at θ̂ and doubled; r² is about 1e-13.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import EmpiricalRisk
from retrain.changes import Changes
from retrain.continuation import LABELS
from retrain.local_certificate import loss_bound
from retrain.removal import Removal
from retrain.weight_file import RetrainedWeights

CHUNK_TESTS = 1000
"""Test examples whose gradients are in memory at once."""
ROUNDINGS = 64 * 2.0**-53
"""Relative error that is allowed for in a loss."""
STEP = 1e-4
"""Of the differences that measure the curvature of a test loss."""


def local_changes(
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    parts: Iterable[RetrainedWeights],
    control: Sequence[RetrainedWeights],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> Changes:
    """Actual changes with labels and local certificates, by ascending removal.

    Args:
        risk: the empirical risk that the weights belong to.
        theta: θ̂.
        parts: stored models, a file at a time.
        control: the null control; without it nothing bounds how far θ̂ is from its minimum.
        x_test: test examples.
        y_test: their labels.
    """
    before, norms = risk.losses(theta, x_test, y_test), gradient_norms(risk, theta, x_test, y_test)
    curvatures = 2 * loss_curvatures(risk, theta, x_test, y_test)
    of_fit = loss_bound(norms[:, None], curvatures, _distance_of_fit(control, theta))
    removals, labels = list[Removal](), list[int]()
    margins, changes, certificates = list[float](), list[Tensor](), list[Tensor]()
    for part in parts:
        removals += part.removals
        labels += [] if part.local is None else part.local.labels.tolist()
        margins += [] if part.local is None else part.local.margins.tolist()
        for difference, distance in zip(part.differences[:, 0], part.distance_bounds, strict=True):
            model = theta + torch.from_numpy(difference).to(theta)
            after = risk.losses(model, x_test, y_test)
            norms = gradient_norms(risk, model, x_test, y_test)
            own = loss_bound(norms[:, None], curvatures, theta.new_tensor([distance]))
            rounding = ROUNDINGS * (1 + before.abs() + after.abs())
            changes.append(after - before)
            certificates.append((own + of_fit)[:, 0] + rounding)
    order = sorted(range(len(removals)), key=removals.__getitem__)
    return Changes(
        removals=tuple(removals[place] for place in order),
        actual_change=columns(changes, order, before),
        certificate=columns(certificates, order, before),
        labels=tuple(LABELS[labels[place]] for place in order),
        margins=np.array([margins[place] for place in order], dtype=np.float64),
    )


def columns(found: list[Tensor], order: Sequence[int], like: Tensor) -> Float[np.ndarray, "t B"]:
    """Vectors side by side in an order; `like` has their length where there are none."""
    ordered: np.ndarray = torch.stack([*found, like], dim=1).cpu().numpy()[:, list(order)]
    return ordered


def _distance_of_fit(control: Sequence[RetrainedWeights], like: Tensor) -> Float[Tensor, " 1"]:
    """‖Δ₀‖ + r₀."""
    if not control:
        return like.new_tensor([torch.inf])
    return like.new_tensor([float(control[0].lengths()[0] + control[0].distance_bounds[0])])


def gradient_norms(
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> Float[Tensor, " t"]:
    """‖∇ℓ(θ)‖ of each test example."""
    chunks = zip(torch.split(x_test, CHUNK_TESTS), torch.split(y_test, CHUNK_TESTS), strict=True)
    return torch.cat([risk.loss_gradient(theta, *chunk).norm(dim=1) for chunk in chunks])


def loss_curvatures(
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> Float[Tensor, " t"]:
    """‖∇²ℓ(θ̂)‖ by the power method, from the gradient itself; products are central differences."""
    found = []
    for x, y in zip(x_test, y_test, strict=True):

        def product(v: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
            ahead, behind = (
                risk.loss_gradient(theta + sign * STEP * v, x[None], y[None])[0] for sign in (1, -1)
            )
            return (ahead - behind) / (2 * STEP)

        v, value = risk.loss_gradient(theta, x[None], y[None])[0], theta.new_zeros(())
        for _ in range(3):
            norm = v.norm()
            if not norm > 0:
                break
            v = product(v / norm)
            value = torch.maximum(value, v.norm())
        found.append(value)
    return torch.stack(found)
