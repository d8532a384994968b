"""Actual changes of any test loss under stored models, each with its local certificate.

|ℓ(θ) − ℓ(θ*)| ≤ ‖∇ℓ(θ)‖r + c·r²/2, for the model and for θ̂, which is within ‖Δ₀‖ + r₀ of its own minimum, Δ₀
the null control's: there a model was solved that leaves out nothing. ∇ℓ is computed at the very model; c, the
curvature of a test loss, is measured at θ̂ and doubled; r² is about 1e-13.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import EmpiricalRisk
from retrain.changes import Changes, TestFeatures, TestLabels
from retrain.continuation import LABELS, UNDECIDED
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
    base: tuple[Float[Tensor, " p"], float],
    x_test: TestFeatures,
    y_test: TestLabels,
    label: str | None = None,
) -> Changes:
    """Actual changes with certificates, by ascending removal.

    Args:
        theta: θ̂, which Δ are stored against.
        parts: stored models, a file at a time.
        base: what they are held against, and how far that may be from its own minimum: infinite where nothing
            bounds it.
        label: of all models; None for the label and the margin that each is stored with. A model that is
            stored without them is undecided, and no certificate holds for it.
    """
    curvatures = 2 * loss_curvatures(risk, theta, x_test, y_test)

    def bound(model: Float[Tensor, " p"], distance: float) -> Float[Tensor, " t"]:
        norms = gradient_norms(risk, model, x_test, y_test)
        return loss_bound(norms[:, None], curvatures, theta.new_tensor([distance]))[:, 0]

    before, of_base = risk.losses(base[0], x_test, y_test), bound(*base)
    found = list[tuple[Removal, Tensor, Tensor, str, float]]()
    for part in parts:
        for place, rows in enumerate(part.removals):
            model = theta + torch.from_numpy(part.differences[place, 0]).to(theta)
            after = risk.losses(model, x_test, y_test)
            rounding = ROUNDINGS * (1 + before.abs() + after.abs())
            certificate = bound(model, part.distance_bounds[place]) + of_base + rounding
            name, margin = label or UNDECIDED, 0.0
            if label is None and part.local is not None:
                name, margin = LABELS[part.local.labels[place]], float(part.local.margins[place])
            elif label is None:
                certificate = torch.full_like(certificate, torch.inf)
            found.append((rows, after - before, certificate, name, margin))
    found.sort(key=lambda model: model[0])
    return Changes(
        removals=tuple(model[0] for model in found),
        actual_change=_columns([model[1] for model in found], before),
        certificate=_columns([model[2] for model in found], before),
        labels=tuple(model[3] for model in found),
        margins=np.array([model[4] for model in found], dtype=np.float64) if label is None else None,
    )


def _columns(found: list[Tensor], like: Tensor) -> Float[np.ndarray, "t B"]:
    """Vectors side by side; `like` has their length where there are none."""
    columns: np.ndarray = torch.stack([*found, like], dim=1).cpu().numpy()[:, :-1]
    return columns


def models_of(theta: Float[Tensor, " p"], part: RetrainedWeights) -> Float[Tensor, "B p"]:
    """θ̂ + Δ of stored models."""
    return theta + torch.from_numpy(part.differences[:, 0]).to(theta)


def loss_changes(
    risk: EmpiricalRisk,
    base: Float[Tensor, " p"],
    models: Float[Tensor, "B p"],
    x_test: TestFeatures,
    y_test: TestLabels,
) -> Float[np.ndarray, "t B"]:
    """Test losses at models, at least one, less those at `base`."""
    before = risk.losses(base, x_test, y_test)
    after = [risk.losses(model, x_test, y_test) - before for model in models]
    changes: np.ndarray = torch.stack(after, dim=1).cpu().numpy()
    return changes


def gradient_norms(
    risk: EmpiricalRisk, theta: Float[Tensor, " p"], x_test: TestFeatures, y_test: TestLabels
) -> Float[Tensor, " t"]:
    """‖∇ℓ(θ)‖ of each test example."""
    chunks = zip(torch.split(x_test, CHUNK_TESTS), torch.split(y_test, CHUNK_TESTS), strict=True)
    return torch.cat([risk.loss_gradient(theta, *chunk).norm(dim=1) for chunk in chunks])


def loss_curvatures(
    risk: EmpiricalRisk, theta: Float[Tensor, " p"], x_test: TestFeatures, y_test: TestLabels
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
