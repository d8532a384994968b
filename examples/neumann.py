"""A solver of one's own: the Neumann series of (H + damping·I)⁻¹v, with whole products instead of batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from erm.risk import Curvature
from influence.solution import (
    Progress,
    Solution,
    Solve,
    Status,
    check_right_hand_side,
    damped_product,
    failure,
    relative_norm,
)

POWER_ITERATIONS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Neumann:
    """With A = H + damping·I and c above the largest eigenvalue of A,

        s₀ = 0,  sₜ₊₁ = sₜ + (v − A sₜ)/c,  so that  v − A sₜ = (I − A/c)ᵗ v.

    Args:
        damping: added to the diagonal of H.
        tolerance: converged when ‖v − A s‖/‖v‖ ≤ tolerance.
        max_iterations: products at the most, for each v.
    """

    damping: float = 0.0
    tolerance: float = 1e-6
    max_iterations: int = 20_000

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(f"influence.tolerance must be between 0 and 1, got {self.tolerance}")

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """What all v share would be prepared here, once; the function returned answers one v at a time."""
        product = damped_product(curvature, self.damping)
        report = progress or (lambda done, total: None)

        def solve(v: Tensor) -> Solution:
            check_right_hand_side(v)
            scale = 1.1 * _largest_eigenvalue(curvature, like=v) + self.damping
            s, residual, status = torch.zeros_like(v), v, Status.NOT_CONVERGED
            trace = [(0, 1.0)]
            for step in range(1, self.max_iterations + 1):
                s = s + residual / scale
                residual = v - product(s)
                relative = relative_norm(residual, v)
                trace.append((step, relative))
                report(step, self.max_iterations)
                if relative <= self.tolerance:
                    status = Status.CONVERGED
                    break
                # The residual of a positive definite A never grows. Written so that NaN counts as growth.
                if not relative <= 1 + 1e-9:
                    status = Status.SINGULAR
                    break
            return self._solution(v, s, status, trace)

        return solve

    def _solution(self, v: Tensor, s: Tensor, status: Status, trace: list[tuple[int, float]]) -> Solution:
        step, relative = trace[-1]
        said = f"{step} terms of the Neumann series, relative residual {relative:.1e}"
        if status is not Status.CONVERGED:
            remedy = "add L2 (`model.l2`) or `influence.damping`, or raise `influence.max_iterations`"
            return failure(
                status,
                v,
                evidence=said,
                remedy=remedy,
                num_hvps=float(step + POWER_ITERATIONS),
                trace=tuple(trace),
            )
        return Solution(
            value=s,
            status=status,
            message=said,
            relative_residual=relative,
            num_hvps=float(step + POWER_ITERATIONS),
            trace=tuple(trace),
        )


def _largest_eigenvalue(curvature: Curvature, like: Tensor) -> float:
    u = torch.randn(like.shape, generator=torch.Generator().manual_seed(0), dtype=like.dtype).to(like)
    for _ in range(POWER_ITERATIONS):
        u = curvature.product((u / u.norm())[None])[0]
    return float(u.norm())
