"""What models near θ̂ are solved and judged by: the risks, the factor of H, and how rough float64 is here.

Everything is said of (1 − t)·R + t·R₋S, whose minimum is θ̂ at t = 0 and the model's at t = 1: as t grows, the
weight of the removed rows falls from that of the others to 0.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from erm.risk import EmpiricalRisk
from retrain.hessian_factor import HessianFactor, hessian_factor
from retrain.local_certificate import LocalCertificate, local_certificate, rounding_of_float64
from retrain.local_curvature import CLIMB, STARTS, fastest_change, spectrum_ends
from retrain.removal import NOTHING, Removal
from retrain.removed_risks import Pair, RemovedRisks, decay_of
from retrain.together_risks import removed_risks


@dataclass(frozen=True, kw_only=True)
class LocalProblem:
    """θ̂, the risks around it, and the coordinates in which their Hessians are near the identity."""

    risk: EmpiricalRisk
    risks: RemovedRisks
    theta: Float64[Tensor, " p"]
    gradient: Float64[Tensor, " p"]
    """∇R(θ̂)."""
    factor: HessianFactor
    rounding: float
    """Of ‖∇R₋S‖ as float64 computes it: measured, not proven."""
    lipschitz: float
    """M of R at θ̂."""
    fastest: Float64[Tensor, "1 p"]
    """The direction in φ that has it."""

    def thetas(self, differences: Float64[Tensor, "B p"]) -> Float64[Tensor, "B p"]:
        """θ̂ + Δ: exactly what a stored Δ stands for."""
        return self.theta + differences

    def gradients_of_fit(self, removals: tuple[Removal, ...]) -> Pair:
        """∇R and ∇R₋S at θ̂, where only removed rows have to be asked: (n∇R − Σ_S ∇L)/(n − k)."""
        n, full = self.risk.num_examples, self.gradient.expand(len(removals), -1)
        removed = self.risks.removed_sums(1, self.theta.expand_as(full), removals)
        sizes = full.new_tensor([len(rows) for rows in removals])[:, None]
        penalty = sizes * decay_of(self.risk) * self.theta
        return Pair(full, (n * full - removed - penalty) / (n - sizes))


@dataclass(frozen=True)
class Surroundings:
    """What is measured of B models at their Δ; what follows for every t is read off, without another pass."""

    differences: Float64[Tensor, "B p"]
    shares: Float64[Tensor, " B"]
    """t at which the curvature was measured."""
    norms: Float64[Tensor, " B"]
    """‖∇F_t(θ̂ + Δ)‖₂ there, at exactly this Δ."""
    residuals: Float64[Tensor, " B"]
    """‖L⁻¹∇F_t(θ̂ + Δ)‖ there, rounding included."""
    pulls: Float64[Tensor, " B"]
    """‖L⁻¹(∇R₋S − ∇R)(θ̂ + Δ)‖: by how much the gradient changes with t."""
    curvatures: Float64[Tensor, " B"]
    """The smallest eigenvalue of L⁻¹∇²F_t L⁻ᵀ."""
    loss_of_curvature: Float64[Tensor, " B"]
    """By how much it can fall per unit by which t grows."""
    gain_of_curvature: Float64[Tensor, " B"]
    """By how much it can fall per unit by which t falls: where the removed rows curve the other way."""
    lipschitz: Float64[Tensor, " B"]
    """M, the larger of the two of R and R₋S."""

    def certificates(self, shares: Float64[Tensor, " B"]) -> LocalCertificate:
        """Newton–Kantorovich for F_t at this Δ, for other t than the measured one too."""
        away = shares - self.shares
        falls = torch.where(away > 0, self.loss_of_curvature, self.gain_of_curvature)
        return local_certificate(
            self.residuals + away.abs() * self.pulls, self.curvatures - away.abs() * falls, self.lipschitz
        )

    def take(self, places: Tensor) -> "Surroundings":
        """Some of the models: by places or by a mask."""
        return Surroundings(*(getattr(self, name)[places] for name in self.__dataclass_fields__))

    def put(self, places: Tensor, others: "Surroundings") -> "Surroundings":
        """These, with those of some models replaced."""
        found = {}
        for name in self.__dataclass_fields__:
            found[name] = getattr(self, name).clone()
            found[name][places] = getattr(others, name)
        return Surroundings(**found)


def local_problem(risk: EmpiricalRisk, theta: Float[Tensor, " p"]) -> LocalProblem:
    """Factor H at θ̂, and measure how fast it changes there.

    Raises:
        NoMinimumError: H is not positive definite.
    """
    theta = theta.double()
    factor = hessian_factor(risk.curvature(theta))
    risks = removed_risks(risk)
    generator = torch.Generator().manual_seed(0)
    starts = torch.randn(STARTS, len(theta), dtype=torch.float64, generator=generator).to(theta)
    at_fit, nothing = theta.expand(STARTS, -1), (NOTHING,) * STARTS

    def third(v: Tensor) -> Tensor:
        return factor.whitened(risks.derivatives(3, at_fit, nothing, factor.in_theta(v)).full)

    found = fastest_change(third, starts, CLIMB)
    best = int(found.lipschitz.argmax())
    return LocalProblem(
        risk=risk,
        risks=risks,
        theta=theta,
        gradient=risk.gradient(theta),
        factor=factor,
        rounding=_rounding(risk, theta),
        lipschitz=float(found.lipschitz[best]),
        fastest=found.directions[best : best + 1],
    )


def surroundings(
    problem: LocalProblem,
    removals: tuple[Removal, ...],
    differences: Float64[Tensor, "B p"],
    shares: Float64[Tensor, " B"],
    gradients: Pair,
) -> Surroundings:
    """Measure what local certificates at Δ need.

    Args:
        differences: Δ of each.
        shares: t of each, at which curvature is measured.
        gradients: ∇R and ∇R₋S, measured at exactly these Δ.
    """
    risks, factor, thetas = problem.risks, problem.factor, problem.thetas(differences)

    def hessian(v: Tensor) -> Tensor:
        products = risks.derivatives(2, thetas, removals, factor.in_theta(v))
        return factor.whitened(products.between(shares))

    curvatures = spectrum_ends(hessian, differences).lowest
    lipschitz = _fastest_here(problem, removals, thetas, differences)
    return _surroundings(problem, removals, differences, shares, gradients, curvatures, lipschitz)


def surroundings_of_fit(problem: LocalProblem, removals: tuple[Removal, ...]) -> Surroundings:
    """The same at θ̂ and t = 0, where the Hessian is the identity and only removed rows have to be asked."""
    nothing = problem.theta.new_zeros(len(removals), len(problem.theta))
    zero = nothing.new_zeros(len(removals))
    gradients = problem.gradients_of_fit(removals)
    lipschitz = zero + problem.lipschitz
    return _surroundings(problem, removals, nothing, zero, gradients, zero + 1.0, lipschitz)


def _surroundings(
    problem: LocalProblem,
    removals: tuple[Removal, ...],
    differences: Float64[Tensor, "B p"],
    shares: Float64[Tensor, " B"],
    gradients: Pair,
    curvatures: Float64[Tensor, " B"],
    lipschitz: Float64[Tensor, " B"],
) -> Surroundings:
    factor, here = problem.factor, gradients.between(shares)
    loss, gain = _curvature_of_removed(problem, removals, differences, lipschitz)
    return Surroundings(
        differences=differences,
        shares=shares,
        norms=here.norm(dim=1),
        residuals=factor.whitened(here).norm(dim=1) + problem.rounding / factor.smallest**0.5,
        pulls=factor.whitened(gradients.difference).norm(dim=1),
        curvatures=curvatures,
        loss_of_curvature=loss,
        gain_of_curvature=gain,
        lipschitz=lipschitz,
    )


def _fastest_here(
    problem: LocalProblem,
    removals: tuple[Removal, ...],
    thetas: Float64[Tensor, "B p"],
    differences: Float64[Tensor, "B p"],
) -> Float64[Tensor, " B"]:
    """M of R and R₋S at θ: from the direction that has it at θ̂, and from the way that the model has come."""
    factor = problem.factor
    way = differences @ factor.lower
    fastest = problem.fastest.expand_as(way)
    way = torch.where(way.norm(dim=1, keepdim=True) > 0, way, fastest)
    best = torch.zeros_like(way[:, 0])

    def third(v: Tensor) -> Tensor:
        pair = problem.risks.derivatives(3, thetas, removals, factor.in_theta(v))
        full, without = factor.whitened(pair.full), factor.whitened(pair.without)
        nonlocal best
        best = torch.maximum(best, torch.maximum(full.norm(dim=1), without.norm(dim=1)))
        return without

    fastest_change(third, fastest, 2)
    fastest_change(third, way, 1)
    return best


def _curvature_of_removed(
    problem: LocalProblem,
    removals: tuple[Removal, ...],
    differences: Float64[Tensor, "B p"],
    lipschitz: Float64[Tensor, " B"],
) -> tuple[Float64[Tensor, " B"], Float64[Tensor, " B"]]:
    """By how much the smallest eigenvalue can fall per unit of t, upwards and downwards.

    ∇²R₋S − ∇²R = (k·C − Σ_S ∇²CE)/(n − k), with C the mean of all ∇²CE, whose eigenvalues in φ lie within
    M‖φ‖ of those at θ̂: between −λ/λ_min(H) and 1.
    """
    factor, n, thetas = problem.factor, problem.risk.num_examples, problem.thetas(differences)
    sizes = thetas.new_tensor([len(rows) for rows in removals])
    left = n - sizes

    def removed(v: Tensor) -> Tensor:
        products = problem.risks.removed_sums(2, thetas, removals, factor.in_theta(v))
        return factor.whitened(products)

    ends = spectrum_ends(removed, differences, most=12)
    moved = lipschitz * factor.lengths(differences)
    upwards = ends.highest + sizes * (problem.risk.l2 / factor.smallest + moved)
    downwards = -ends.lowest + sizes * (1 + moved)
    return (upwards / left).clamp_min(0), (downwards / left).clamp_min(0)


def _rounding(risk: EmpiricalRisk, theta: Float64[Tensor, " p"]) -> float:
    single = risk.to(torch.float32)
    double, at = single.to(torch.float64), theta.float()
    return rounding_of_float64(double.gradient(at.double()), single.gradient(at))
