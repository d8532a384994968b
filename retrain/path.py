"""How a batch of models moves to its minimisers: where each is, its curvature estimates, its next step.

All models share the Cholesky factor of H at θ̂ as their initial inverse Hessian; each corrects it along its
own path by L-BFGS (Nocedal & Wright, Numerical Optimization, algorithm 7.4).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

MAX_GROWTH = 2.0
"""A step after which the gradient norm is more than so many times larger is taken back, if both norms are of
the same precision; what it taught of the curvature is kept."""
MEMORY = 5
"""Pairs of step and gradient change that the L-BFGS correction uses."""


@dataclass(kw_only=True)
class Path:
    """Where the models that are still being solved stand; rows leave together from every field."""

    positions: Int[Tensor, " b"]
    differences: Float64[Tensor, "b K d"]
    gradients: Float64[Tensor, "b K d"]
    norms: Float64[Tensor, " b"]
    """What the next gradient is compared with; infinite where there is nothing to compare with."""
    shown_norms: Float64[Tensor, " b"]
    """Of the last gradient of any precision, for displays."""
    unrounded: Bool[Tensor, " b"]
    """Models that float32 numbers keep from the tolerance."""
    memory: int = MEMORY
    """Pairs that it keeps."""
    steps: list[Tensor] = field(default_factory=list)
    gradient_changes: list[Tensor] = field(default_factory=list)

    def keep(self, rows: Bool[Tensor, " b"]) -> None:
        """Drop the other models."""
        for name in ("positions", "differences", "gradients", "norms", "shown_norms", "unrounded"):
            setattr(self, name, getattr(self, name)[rows])
        self.steps = [step[rows] for step in self.steps]
        self.gradient_changes = [change[rows] for change in self.gradient_changes]

    def move(self, candidate: Float64[Tensor, "b K d"], gradients: Tensor, norms: Tensor) -> None:
        """Move the models whose gradient did not grow, and remember what every step taught."""
        self.steps = [*self.steps, candidate - self.differences][-self.memory :]
        # Without curvature a pair is passed over: after a step so long that the gradient overflowed, or after
        # gradients of two precisions, whose difference is rounding.
        change = gradients - self.gradients
        taught = change.flatten(1).isfinite().all(dim=1)[:, None, None]
        self.gradient_changes = [*self.gradient_changes, torch.where(taught, change, 0.0)][-self.memory :]
        moved = (norms.isfinite() & (norms <= MAX_GROWTH * self.norms))[:, None, None]
        self.differences = torch.where(moved, candidate, self.differences)
        self.gradients = torch.where(moved, gradients, self.gradients)
        self.norms = torch.where(moved[:, 0, 0], norms, self.norms)
        self.shown_norms = self.norms

    def forget_gradients(self) -> None:
        """Compare nothing with what was seen so far: the next finite gradient is accepted, whatever its
        norm."""
        self.gradients = torch.full_like(self.gradients, torch.nan)
        self.norms = torch.full_like(self.norms, torch.inf)


def path_from(
    differences: Float64[Tensor, "B K d"], gradients: Float64[Tensor, "B K d"], memory: int = MEMORY
) -> Path:
    """A path that begins at Δ, where the gradients are known."""
    norms = gradients.flatten(1).norm(dim=1)
    rows = torch.arange(len(differences), device=differences.device)
    return Path(
        positions=rows,
        differences=differences,
        gradients=gradients,
        norms=norms,
        shown_norms=norms,
        unrounded=torch.zeros_like(rows, dtype=torch.bool),
        memory=memory,
    )


def inverse_hessian_product(path: Path, inverse: Callable[[Tensor], Tensor]) -> Float[Tensor, "b K d"]:
    """The L-BFGS two-loop recursion, every model its own, around g ↦ H⁻¹g, which all share."""
    pairs = list(zip(path.steps, path.gradient_changes, strict=True))
    # Convexity makes yᵀs positive; where rounding has made it otherwise, the pair is passed over.
    rhos = [torch.where((ys := _dot(y, s)) > 0, 1 / ys, torch.zeros_like(ys)) for s, y in pairs]
    direction, alphas = path.gradients.clone(), []
    for (s, y), rho in zip(reversed(pairs), reversed(rhos), strict=True):
        alpha = rho * _dot(s, direction)
        direction -= alpha * y
        alphas.append(alpha)
    direction = inverse(direction)
    for (s, y), rho, alpha in zip(pairs, rhos, reversed(alphas), strict=True):
        direction += s * (alpha - rho * _dot(y, direction))
    return direction


def _dot(a: Float[Tensor, "b K d"], b: Float[Tensor, "b K d"]) -> Float[Tensor, "b 1 1"]:
    return (a * b).sum((1, 2), keepdim=True)
