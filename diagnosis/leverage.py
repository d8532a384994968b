"""How much does a point weigh, and by what factor does its removal exceed what first order predicts?

At the minimiser θ̂₋ᵢ of R₋ᵢ all gradients but that of zᵢ sum to zero, so n∇R(θ̂₋ᵢ) = ∇L(zᵢ, θ̂₋ᵢ), and with H̄
the mean Hessian on the way from θ̂,

    θ̂₋ᵢ − θ̂ = (nH̄)⁻¹ ∇L(zᵢ, θ̂₋ᵢ),  where influence has  (nH)⁻¹ ∇L(zᵢ, θ̂).

So what a correct first-order prediction is short by is, up to H̄ ≠ H, the growth of the point's own residual
p − y once the model no longer sees it. In least squares, where H̄ = H, that factor is exactly 1/(1 − hᵢ) with
hᵢ the leverage of the point (Cook & Weisberg, 1982, section 2.2). Nothing of it depends on the test point or
on the predictions, so it can tell leverage from a factor that a method forgot.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from retrain.removal import NOTHING
from retrain.weights import LeaveOneOutWeights

CHUNK_MODELS = 512
"""Models whose weights are in float64 at once."""
NO_RESIDUAL = 1e-12
"""‖p − y‖ below which a point is fitted to rounding, and its growth means nothing."""


def amplification(
    risk: SoftmaxRisk, theta: Float[Tensor, " p"], parts: Iterable[LeaveOneOutWeights]
) -> dict[int, float]:
    """‖p(xᵢ, θ̂₋ᵢ) − yᵢ‖/‖p(xᵢ, θ̂) − yᵢ‖ by training point, not below 1; the null control has none.

    Args:
        risk: the empirical risk that the weights belong to.
        theta: its minimiser θ̂.
        parts: stored leave-one-out models; each is let go of once it is used.
    """
    classes = risk.weights(theta).double()
    found: dict[int, float] = {}
    for part in parts:
        for rows in np.array_split(np.arange(len(part.indices)), -(-len(part.indices) // CHUNK_MODELS)):
            kept = rows[part.indices[rows] != NOTHING]
            factors = _growth(risk, classes, part.indices[kept], part.differences[kept])
            found |= dict(zip(part.indices[kept].tolist(), factors.tolist(), strict=True))
    return found


def _growth(
    risk: SoftmaxRisk,
    classes: Float[Tensor, "K features"],
    indices: np.ndarray,
    differences: Float[np.ndarray, "b K features"],
) -> Float[Tensor, " b"]:
    at = torch.from_numpy(indices).to(risk.x.device)
    x = risk.x[at].double()
    labels = torch.nn.functional.one_hot(risk.y[at], risk.num_classes).to(x)
    logits = x @ classes.T
    moved = logits + torch.einsum("bkd,bd->bk", aligned(torch.from_numpy(differences), like=x), x)
    before, after = ((torch.softmax(found, dim=1) - labels).norm(dim=1) for found in (logits, moved))
    grown = torch.where(before > NO_RESIDUAL, after / before.clamp_min(NO_RESIDUAL), torch.ones_like(before))
    return grown.clamp_min(1.0)
