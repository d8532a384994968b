"""Fitting θ̂: Newton steps until the gradient norm itself is small.

Convergence is ‖∇R(θ)‖ ≤ tolerance and nothing else. Values of R cannot tell: they agree to rounding long
before the gradient vanishes (a relative decrease of 1e-16 stands for a gradient norm of about 1e-8).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from erm.descent import Point, evaluated
from erm.kronecker import Precondition, identity, kronecker_inverse
from erm.risk import EmpiricalRisk
from erm.settings import Count, Positive, check_settings

FORCING = 0.5
"""Relative residual of the first Newton systems; later as the root of the gradient norm, if that is less."""
FINISH = 0.01
"""Share of the tolerance that a step aims at when it can be the last: ∇R(θ̂) is part of every certificate."""
ARMIJO = 1e-4
"""Share of the decrease promised by the slope that a step must bring."""
SAME_VALUE = 1e-6
"""Relative difference of two values of R up to which their gradients are compared instead, as Hager & Zhang
(2005) do."""
MAX_HALVINGS = 40
POOR_PROGRESS = 0.5
"""A step that leaves more of the gradient than this is the last one computed in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """θ̂ and how close to stationary it is."""

    theta: Float[Tensor, " p"]
    value: float
    """R(θ̂), L2 inside."""
    gradient_norm: float
    """‖∇R(θ̂)‖₂, L2 inside."""
    converged: bool
    passes: int
    """Passes over the data: gradients and Hessian-vector products."""
    trace: tuple[tuple[int, float], ...] = ()
    """(passes so far, gradient norm) of every iterate, in order; the last is where the fit ended."""
    smallest_eigenvalue: float | None = None
    """λ_min of H at θ̂, L2 inside, where the fit has looked: above 0, θ̂ is a minimum."""
    reason: str = ""
    """Why it has not converged, where the fit can say more than its numbers, and what to do."""
    moments: Float[Tensor, "2 p"] | None = None
    """Of `erm/adam.py`, which training can go on with; None of any other fit."""


Tolerance = Annotated[Positive, Field(description="‖∇R(θ̂)‖ at which the fit has converged")]
MaxPasses = Annotated[Count, Field(description="gradients and Hessian-vector products at the most")]
Progress = Callable[[int, float], None]
"""Called after every pass over the data: how many so far, and the gradient norm of the last iterate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewtonFit:
    """Settings of the converged fit.

    Raises:
        ValueError: a setting is not positive.
    """

    tolerance: Tolerance = 1e-10
    max_passes: MaxPasses = 3000

    def __post_init__(self) -> None:
        check_settings(self, "fit")

    def __call__(
        self,
        risk: EmpiricalRisk,
        progress: Progress | None = None,
        start: Float[Tensor, " p"] | None = None,
    ) -> Fit:
        """Minimise R.

        Newton systems are solved by preconditioned conjugate gradient, whose products are taken in float32 as
        long as that suffices: they decide how fast the fit converges, never where.

        Args:
            risk: the empirical risk, whose precision bounds the gradient norm that can be reached.
            start: where to begin; the risk's own starting point when None.
        """
        return _Newton(risk, self.tolerance, self.max_passes, progress).minimise(start)


class _Newton:
    """One minimisation: where it is, and the passes it has taken."""

    def __init__(
        self, risk: EmpiricalRisk, tolerance: float, max_passes: int, progress: Progress | None
    ) -> None:
        self.risk, self.products = risk, risk.to(torch.float32)
        self.tolerance, self.max_passes, self.progress = tolerance, max_passes, progress
        self.passes = 0
        self.norm = math.nan
        self.precondition: Precondition = identity

    def minimise(self, start: Float[Tensor, " p"] | None) -> Fit:
        here = first = evaluated(self.risk, self.risk.initial_parameters() if start is None else start)
        self.norm = here.norm
        self.count()
        trace = {self.passes: here.norm}
        while here.norm > self.tolerance and self.passes < self.max_passes:
            forcing = min(FORCING, (here.norm / first.norm) ** 0.5)
            if forcing * here.norm <= 10 * self.tolerance:
                forcing = FINISH * self.tolerance / here.norm
            moved = self.search(here, self.newton_step(here, forcing))
            if moved is None and self.products is self.risk:
                break
            if moved is None or moved.norm > POOR_PROGRESS * here.norm:
                self.products = self.risk
            here = moved or here
            self.norm = trace[self.passes] = here.norm
        trace[self.passes] = here.norm
        return Fit(
            theta=here.theta,
            value=here.value,
            gradient_norm=here.norm,
            converged=here.norm <= self.tolerance,
            passes=self.passes,
            trace=tuple(trace.items()),
        )

    def count(self) -> None:
        self.passes += 1
        if self.progress is not None:
            self.progress(self.passes, self.norm)

    def newton_step(self, here: Point, forcing: float) -> Float[Tensor, " p"]:
        """d with ‖Hd + ∇R‖ ≤ forcing·‖∇R‖, or what conjugate gradient has of it when the passes are spent or
        it meets a direction in which R is not convex. R falls along d (Nocedal & Wright, 2006, algorithm
        7.1).
        """
        curvature = self.risk.curvature(here.theta)
        self.precondition = kronecker_inverse(curvature, before=self.precondition)
        if self.products is not self.risk:
            curvature = self.products.curvature(here.theta.float())
        d, r = torch.zeros_like(here.gradient), -here.gradient
        z = self.precondition(r)
        p, squared = z, r.dot(z)
        # Without rounding p products solve the system; with it, more of them are in vain.
        last = min(self.max_passes - 1, self.passes + 2 * len(r))
        while self.passes < last and not r.norm() <= forcing * here.norm:
            image = curvature.product(p[None].to(curvature.dtype))[0].to(p.dtype)
            self.count()
            along = p.dot(image)
            # Written so that NaN ends it too.
            if not along > 0:
                break
            d, r = d + squared / along * p, r - squared / along * image
            z = self.precondition(r)
            previous, squared = squared, r.dot(z)
            p = z + squared / previous * p
        return d if d.any() else z

    def search(self, here: Point, step: Float[Tensor, " p"]) -> Point | None:
        """The longest of step, step/2, step/4, … along which R falls; where R hardly changes, ‖∇R‖.

        None where no length does, or the passes are spent: rounding is reached.
        """
        slope = float(here.gradient.dot(step))
        for halvings in range(MAX_HALVINGS):
            if self.passes >= self.max_passes:
                break
            there = evaluated(self.risk, here.theta + step / 2**halvings)
            fallen = here.value - there.value
            flat = abs(fallen) <= SAME_VALUE * abs(here.value)
            found = there.norm < here.norm if flat else fallen >= -ARMIJO * slope / 2**halvings
            # The pass that found θ̂ tells its norm, not that of the iterate before.
            self.norm = there.norm if found else self.norm
            self.count()
            if found:
                return there
        return None
