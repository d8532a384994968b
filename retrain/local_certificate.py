"""A certificate under a condition: how near is a minimum, if the Hessian changes no faster than is said?

Newton–Kantorovich (Ortega & Rheinboldt, Iterative Solution of Nonlinear Equations in Several Variables,
12.6.2; Deuflhard, Newton Methods for Nonlinear Problems, theorem 2.1), for ∇F in place of a general function.
At θ let A = ∇²F(θ) be positive definite, ‖A⁻¹‖ ≤ β, ‖A⁻¹∇F(θ)‖ ≤ η, and M a Lipschitz constant of ∇²F in the
ball that is meant. Let h = βMη. If h ≤ 1/2, then ∇F has a zero θ* with

    ‖θ − θ*‖ ≤ t* = 2η/(1 + √(1 − 2h)) ≤ 2η,      and no other within t** = (1 + √(1 − 2h))/(βM).

∇²F(θ*) has no eigenvalue below 1/β − M·t* = √(1 − 2h)/β, so for h < 1/2 θ* is a strict minimum. The theorem
holds in every Euclidean norm; here in ‖·‖_H, as `retrain/hessian_factor.py` has it, in which 1/β is the
smallest eigenvalue of L⁻¹AL⁻ᵀ.

The theorem is proven. That M and β are what it needs is not: both are *measured*, and so the certificate is
*local*. What it leaves open is a number, the margin 1/(2h): with an M up to so many times larger than the one
that was measured, the minimum would still be there and within 2η.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class LocalCertificate:
    """Newton–Kantorovich at B models."""

    curvatures: Float[Tensor, " B"]
    """1/β: the smallest eigenvalue of L⁻¹AL⁻ᵀ, as measured."""
    newton_lengths: Float[Tensor, " B"]
    """η: bound on ‖A⁻¹∇F(θ)‖_H, by ‖L⁻¹∇F‖β."""
    lipschitz: Float[Tensor, " B"]
    """M in ‖·‖_H, as measured."""

    @property
    def ratios(self) -> Float[Tensor, " B"]:
        """h; infinite where A is not positive definite."""
        found = self.lipschitz * self.newton_lengths / self.curvatures
        return torch.where(self.curvatures > 0, found, torch.inf)

    @property
    def holds(self) -> Bool[Tensor, " B"]:
        """Whether a strict minimum is proven to be near, should M be what was measured."""
        return self.ratios < 0.5

    @property
    def margins(self) -> Float[Tensor, " B"]:
        """How many times larger than measured M may be; below 1 nothing is certified."""
        return 0.5 / self.ratios

    @property
    def distances(self) -> Float[Tensor, " B"]:
        """2η ≥ ‖θ − θ*‖_H, which holds for every M up to the margin; infinite where nothing is certified."""
        return torch.where(self.holds, 2 * self.newton_lengths, torch.inf)

    @property
    def radii(self) -> Float[Tensor, " B"]:
        """t* ≥ ‖θ − θ*‖_H for the M that was measured; infinite where nothing is certified."""
        root = (1 - 2 * self.ratios).clamp_min(0).sqrt()
        return torch.where(self.holds, 2 * self.newton_lengths / (1 + root), torch.inf)

    def with_lipschitz(self, lipschitz: Float[Tensor, " B"]) -> "LocalCertificate":
        """The same for another M."""
        return LocalCertificate(self.curvatures, self.newton_lengths, lipschitz)

    @property
    def alone_within(self) -> Float[Tensor, " B"]:
        """t**: no other stationary point is nearer to θ than this; 0 where nothing is certified."""
        root = (1 - 2 * self.ratios).clamp_min(0).sqrt()
        return torch.where(self.holds, (1 + root) * self.curvatures / self.lipschitz, 0.0)


def local_certificate(
    gradient_lengths: Float[Tensor, " B"], curvatures: Float[Tensor, " B"], lipschitz: Float[Tensor, " B"]
) -> LocalCertificate:
    """From ‖L⁻¹∇F(θ)‖, rounding included, 1/β and M."""
    return LocalCertificate(
        curvatures, torch.where(curvatures > 0, gradient_lengths / curvatures, torch.inf), lipschitz
    )


def loss_bound(
    gradient_norms: Float[Tensor, "t B"],
    curvature_bounds: Float[Tensor, " t"],
    distances: Float[Tensor, " B"],
) -> Float[Tensor, "t B"]:
    """‖∇ℓ(θ)‖·r + c·r²/2: how far a test loss can be from that of a model within r.

    Taylor's theorem with c a bound on ‖∇²ℓ‖ within r. The gradient norm is that of the very model; c is
    measured, and stands beside r² ~ 1e-12.

    Args:
        gradient_norms: ‖∇ℓ(z, θ)‖₂, no L2.
        curvature_bounds: c of each test loss.
        distances: r = bound on ‖θ − θ*‖₂; infinite where nothing is certified.
    """
    bound: Tensor = gradient_norms * distances + 0.5 * curvature_bounds[:, None] * distances**2
    return bound


def rounding_of_float64(
    double: Float[Tensor, " p"], single: Float[Tensor, " p"], safety: float = 8.0
) -> float:
    """The rounding in a float64 gradient, measured in float32: the same formulas, 2⁻²⁹ times as rough.

    Args:
        double: a gradient in float64, at parameters and examples that are float32 numbers.
    """
    found = safety * float((single.to(double) - double).norm()) * 2.0**-29
    return found if math.isfinite(found) else math.inf
