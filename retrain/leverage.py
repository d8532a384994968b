"""How much does a point weigh, and by what factor does its removal exceed what first order predicts?

At the minimiser θ̂₋ᵢ of R₋ᵢ all gradients but that of zᵢ sum to zero, so n∇R(θ̂₋ᵢ) = ∇L(zᵢ, θ̂₋ᵢ), and with H̄
the mean Hessian on the way from θ̂,

    θ̂₋ᵢ − θ̂ = (nH̄)⁻¹ ∇L(zᵢ, θ̂₋ᵢ),  where influence has  (nH)⁻¹ ∇L(zᵢ, θ̂).

So what a correct first-order prediction is short by is, up to H̄ ≠ H, the growth of the point's own residual
p − y once the model no longer sees it. In least squares, where H̄ = H, that factor is exactly 1/(1 − hᵢ) with
hᵢ the leverage of the point (Cook & Weisberg, 1982, section 2.2). Nothing of it depends on the test point or
on the predictions, so it can tell leverage from a factor that a method forgot.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from retrain.weight_file import RetrainedWeights

CHUNK_MODELS = 512
"""Models whose weights are in float64 at once."""
NO_RESIDUAL = 1e-12
"""‖p − y‖ below which a point is fitted to rounding, and its growth means nothing."""


def amplification(
    risk: SoftmaxRisk, theta: Float[Tensor, " p"], parts: Iterable[RetrainedWeights]
) -> dict[int, float]:
    """‖p(xᵢ, θ̂₋ᵢ) − yᵢ‖/‖p(xᵢ, θ̂) − yᵢ‖ by training row, not below 1, of the removals of one row.

    Args:
        parts: stored models; each is let go of once it is used.
    """
    classes = risk.weights(theta).double()
    found: dict[int, float] = {}
    for part in points_of(parts, CHUNK_MODELS):
        rows = [row for (row,) in part.removals]
        factors = _growth(risk, classes, rows, part.differences)
        found |= dict(zip(rows, factors.tolist(), strict=True))
    return found


def points_of(parts: Iterable[RetrainedWeights], most: int) -> Iterator[RetrainedWeights]:
    """The models of single rows, at most so many at a time."""
    for part in parts:
        points = np.array([place for place, rows in enumerate(part.removals) if len(rows) == 1], dtype=int)
        for places in np.array_split(points, -(-len(points) // most) or 1):
            yield part.select(places)


def _growth(
    risk: SoftmaxRisk,
    classes: Float[Tensor, "K features"],
    rows: list[int],
    differences: Float[np.ndarray, "b K features"],
) -> Float[Tensor, " b"]:
    at = torch.tensor(rows, dtype=torch.int64, device=risk.x.device)
    x = risk.x[at].double()
    labels = torch.nn.functional.one_hot(risk.y[at], risk.num_classes).to(x)
    logits = x @ classes.T
    moved = logits + torch.einsum("bkd,bd->bk", aligned(torch.from_numpy(differences), like=x), x)
    before, after = ((torch.softmax(found, dim=1) - labels).norm(dim=1) for found in (logits, moved))
    grown = torch.where(before > NO_RESIDUAL, after / before.clamp_min(NO_RESIDUAL), torch.ones_like(before))
    return grown.clamp_min(1.0)
