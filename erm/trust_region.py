"""A step that lowers a quadratic model within a radius, by products alone: Steihaug's conjugate gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Product = Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]]
WIDER, NARROWER = 2.0, 0.25
"""What the radius is multiplied by after a step that was as promised, and after one that was not."""
GOOD, POOR = 0.75, 0.25
"""Shares of the promised decrease that say which."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """Where the model is lower."""

    direction: Float[Tensor, " p"]
    decrease: float
    """m(0) − m(d), at least 0."""
    at_radius: bool


def steihaug_step(
    product: Product, gradient: Float[Tensor, " p"], *, radius: float, forcing: float, most: int
) -> Step:
    """d that lowers m(d) = gᵀd + ½dᵀHd, with ‖d‖ ≤ radius (Nocedal & Wright, 2006, algorithm 7.2).

    Conjugate gradient from d = 0. It ends where the residual is small; where it leaves the radius, on it; and
    where it meets a direction of negative curvature it follows that to the radius.

    Args:
        forcing: relative residual ‖H d + g‖/‖g‖ that is enough.
        most: products at the most.
    """
    d, residual = torch.zeros_like(gradient), gradient
    p, squared = -gradient, float(gradient.dot(gradient))
    norm, at_radius = math.sqrt(squared), False
    for _ in range(most):
        if not math.sqrt(squared) > forcing * norm:
            break
        image = product(p)
        along = float(p.dot(image))
        length = squared / along if along > 0 else math.inf
        if not float((d + length * p).norm()) < radius:
            length, at_radius = _to_radius(d, p, radius), True
        d, residual = d + length * p, residual + length * image
        if at_radius:
            break
        previous, squared = squared, float(residual.dot(residual))
        p = -residual + (squared / previous) * p
    # H d = residual − g.
    return Step(direction=d, decrease=-float(d.dot(gradient + residual)) / 2, at_radius=at_radius)


def next_radius(radius: float, step: Step, share: float) -> float:
    """The radius after a step.

    Args:
        share: of the decrease that it promised, what came; NaN counts as none.
    """
    if not share >= POOR:
        return NARROWER * float(step.direction.norm())
    return WIDER * radius if share >= GOOD and step.at_radius else radius


def _to_radius(d: Float[Tensor, " p"], p: Float[Tensor, " p"], radius: float) -> float:
    """τ ≥ 0 with ‖d + τp‖ = radius."""
    squared, mixed = float(p.dot(p)), float(d.dot(p))
    left = max(radius**2 - float(d.dot(d)), 0.0)
    return left / (mixed + math.sqrt(mixed**2 + squared * left)) if left else 0.0


@dataclass(frozen=True)
class Scale:
    """The variables w = Lᵀd in place of d, in which a Hessian near L Lᵀ is nearly I; d itself without L."""

    factor: Float[Tensor, "p p"] | None

    def forward(self, d: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        return d if self.factor is None else self.factor.mT @ d

    def back(self, w: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        if self.factor is None:
            return w
        found: Tensor = torch.linalg.solve_triangular(self.factor.mT, w[:, None], upper=True)[:, 0]
        return found

    def gradient(self, g: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        if self.factor is None:
            return g
        found: Tensor = torch.linalg.solve_triangular(self.factor, g[:, None], upper=False)[:, 0]
        return found
