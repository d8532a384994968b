"""Fitting θ̂: L-BFGS to reach the basin, then Newton steps until the gradient norm itself is small.

Convergence is ‖∇R(θ)‖ ≤ tolerance and nothing else. L-BFGS alone cannot get there: its line search compares
values of R, which agree to rounding long before the gradient vanishes (a relative decrease of 1e-16 stands
for a gradient norm of about 1e-8). A Newton step compares gradient norms instead, and squares them.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from erm.aligned import aligned
from erm.risk import EmpiricalRisk
from erm.settings import Count, Positive, check_settings

LBFGS_TOLERANCE = 1e-4
"""L-BFGS hands over at this gradient norm, where Newton steps converge quadratically."""
NEWTON_FORCING = 1e-4
"""Relative residual of each Newton system: four more digits of the gradient a step."""
MAX_HALVINGS = 12


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
    """(passes so far, gradient norm) after every evaluation, in order; the last is where the fit ended."""


Progress = Callable[[int, float], None]
"""Called after every evaluation with the passes over the data so far and the gradient norm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewtonFit:
    """Settings of the converged fit.

    Args:
        tolerance: the fit has converged when ‖∇R(θ)‖₂ ≤ tolerance.
        max_passes: passes over the data (gradients and Hessian-vector products) before it gives up.

    Raises:
        ValueError: a setting is not positive.
    """

    tolerance: Annotated[Positive, Field(description="‖∇R(θ̂)‖ at which the fit has converged")] = 1e-10
    max_passes: Annotated[Count, Field(description="gradients and Hessian-vector products at the most")] = (
        3000
    )

    def __post_init__(self) -> None:
        check_settings(self, "fit")

    def __call__(
        self,
        risk: EmpiricalRisk,
        progress: Progress | None = None,
        start: Float[Tensor, " p"] | None = None,
    ) -> Fit:
        """Minimise R.

        Args:
            risk: the empirical risk, whose precision bounds the gradient norm that can be reached.
            progress: called as the fit goes on.
            start: where to begin; the risk's own starting point when None.
        """
        trace: dict[int, float] = {}

        def report(passes: int, norm: float) -> None:
            trace[passes] = norm
            if progress is not None:
                progress(passes, norm)

        theta, passes = self._lbfgs(risk, risk.initial_parameters() if start is None else start, report)
        gradient = risk.gradient(theta)
        # L-BFGS ends at the best of its evaluations, which need not be the last.
        trace[passes] = float(gradient.norm())
        while gradient.norm() > self.tolerance and passes < self.max_passes:
            step, products = _newton_step(risk, theta, gradient, self.max_passes - passes)
            moved = _backtrack(risk, theta, step, gradient)
            if moved is None:
                break
            theta, gradient, halvings = moved
            passes += products + 1 + halvings
            report(passes, float(gradient.norm()))
        gradient_norm = float(gradient.norm())
        return Fit(
            theta=theta,
            value=float(risk.value(theta)),
            gradient_norm=gradient_norm,
            converged=gradient_norm <= self.tolerance,
            passes=passes,
            trace=tuple(trace.items()),
        )

    def _lbfgs(self, risk: EmpiricalRisk, start: Float[Tensor, " p"], report: Progress) -> tuple[Tensor, int]:
        evaluations = itertools.count(1)

        def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = risk.value_and_gradient(aligned(torch.from_numpy(flat), like=start))
            report(next(evaluations), float(gradient.norm()))
            return float(value), _to_numpy(gradient)

        # scipy's test is on the largest entry: a norm of LBFGS_TOLERANCE allows entries of that over √p.
        largest_entry = max(self.tolerance, LBFGS_TOLERANCE) / len(start) ** 0.5
        result = minimize(
            value_and_gradient,
            _to_numpy(start),
            jac=True,
            method="L-BFGS-B",
            options={
                "gtol": largest_entry,
                "ftol": 0.0,
                "maxcor": 20,
                "maxiter": self.max_passes,
                "maxfun": self.max_passes,
            },
        )
        return aligned(torch.from_numpy(result.x), like=start), int(result.nfev)


def _backtrack(
    risk: EmpiricalRisk, theta: Float[Tensor, " p"], step: Float[Tensor, " p"], gradient: Float[Tensor, " p"]
) -> tuple[Tensor, Tensor, int] | None:
    """The longest of step, step/2, step/4, … that shortens the gradient.

    Returns its end, the gradient there, and how often it was halved. None where no length does: rounding is
    reached, or (for a risk that is not convex) the step leads uphill.
    """
    for halvings in range(MAX_HALVINGS):
        candidate = theta + step / 2**halvings
        candidate_gradient = risk.gradient(candidate)
        if candidate_gradient.norm() < gradient.norm():
            return candidate, candidate_gradient, halvings
    return None


def _newton_step(
    risk: EmpiricalRisk, theta: Float[Tensor, " p"], gradient: Float[Tensor, " p"], max_products: int
) -> tuple[Float[Tensor, " p"], int]:
    """−H⁻¹∇R(θ) to a relative residual of `NEWTON_FORCING`, and the products it took."""
    curvature = risk.curvature(theta)
    products = 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal products
        products += 1
        return _to_numpy(curvature.product(aligned(torch.from_numpy(v), like=theta)[None])[0])

    hessian = LinearOperator((len(theta), len(theta)), matvec=product, dtype=np.float64)
    step, _ = cg(hessian, -_to_numpy(gradient), rtol=NEWTON_FORCING, atol=0.0, maxiter=max_products)
    return aligned(torch.from_numpy(step), like=theta), products


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
