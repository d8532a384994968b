"""Conjugate gradient: (H + damping·I)⁻¹v from Hessian-vector products alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from erm.kronecker import Precondition, identity, kronecker_inverse
from erm.risk import Curvature
from erm.settings import Count, check_settings
from influence.counting import CountedCurvature
from influence.solution import (
    Damping,
    Progress,
    Solution,
    Solve,
    Status,
    check_right_hand_side,
    damped_product,
    definiteness_remedy,
    failure,
    rounding,
)

RECOMPUTE_EVERY = 50
"""Steps between two residuals computed as v − A s instead of by recurrence."""
DRIFT = 0.1
"""Relative difference of the two from which the search starts afresh at the true one."""
CHECK_ITERATIONS = 1000
"""What the check of definiteness may take, however few iterations the solves are allowed."""
NULL_COMPONENT = 1e-3
"""Residual of the check that rules a null vector out."""

LACKING = "; without preconditioner, as this Hessian has no Kronecker factors that could be inverted"


@dataclass(frozen=True, kw_only=True, slots=True)
class CG:
    """Conjugate gradient on A s = v with A = H + damping·I, stopped by the true residual.

    If A is singular, CG still converges for a v in its range, to one of infinitely many solutions. So an A
    that nothing proves definite is checked once, before the first solve: see `_find_obstacle`.

    Args:
        tolerance: converged when ‖v − A s‖/‖v‖ ≤ tolerance, with the residual computed from s.
        preconditioner: "kronecker", see `kronecker_inverse`, or "none".
        subsample_size: examples that the preconditioner is made from; all if there are fewer.

    Raises:
        ValueError: a setting is outside its range.
    """

    damping: Damping = 0.0
    tolerance: Annotated[float, Field(gt=0, lt=1, description="true relative residual to reach")] = 1e-8
    max_iterations: Annotated[Count, Field(description="iterations at the most")] = 1000
    preconditioner: Annotated[
        Literal["none", "kronecker"], Field(description="what makes the iterations fewer")
    ] = "kronecker"
    subsample_size: Annotated[Count, Field(description="random examples a preconditioner is made from")] = (
        5000
    )

    def __post_init__(self) -> None:
        check_settings(self, "influence")

    def at(
        self,
        curvature: Curvature,
        progress: Progress | None = None,
        *,
        precondition: Precondition | None = None,
    ) -> Solve:
        """The check of definiteness is made now, and counted with the first v.

        Args:
            curvature: H.
            progress: called as the iteration goes on.
            precondition: symmetric positive definite and near (H + damping·I)⁻¹, instead of that which
                `preconditioner` names.
        """
        report = progress or (lambda done, total: None)
        counted = CountedCurvature(counted=curvature)
        product = damped_product(counted, self.damping)
        if precondition is None and self.preconditioner == "kronecker":
            precondition = kronecker_inverse(curvature, self.damping, sample=self.subsample_size)
        precondition = precondition or identity
        lacking = self.preconditioner != "none" and precondition is identity
        obstacle = _find_obstacle(
            counted, self.damping, precondition, max(self.max_iterations, CHECK_ITERATIONS), report
        )
        told = 0.0

        def solve(v: Float[Tensor, " p"]) -> Solution:
            nonlocal told
            check_right_hand_side(v)
            run = obstacle or _iterate(product, precondition, v, self.tolerance, self.max_iterations, report)
            if lacking:
                run = replace(run, evidence=f"{run.evidence}{LACKING}")
            taken, told = counted.num_hvps - told, counted.num_hvps
            return self._solution(v, run, taken, curvature.convex)

        return solve

    def _solution(self, v: Float[Tensor, " p"], run: "_Run", num_hvps: float, convex: bool) -> Solution:
        if run.s is None:
            solution = failure(run.status, v, evidence=run.evidence, remedy=self._remedy(run, convex))
        else:
            message = f"conjugate gradient: {run.evidence}"
            solution = Solution(value=run.s, status=run.status, message=message)
        return replace(solution, relative_residual=run.relative_residual, num_hvps=num_hvps, trace=run.trace)

    def _remedy(self, run: "_Run", convex: bool) -> str:
        if run.status is Status.SINGULAR:
            return definiteness_remedy(self.damping, run.smallest_curvature, convex=convex)
        ways = ["condition H better by more `model.l2` or `influence.damping`"]
        if not run.rounding_limited:
            ways.append(f"allow more iterations (`influence.max_iterations={10 * run.max_iterations}`)")
        if run.relative_residual is not None:
            ways.append("accept a larger `influence.tolerance`")
        return ", or ".join(ways)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """How one run of the iteration ended; s is None unless it converged."""

    status: Status
    evidence: str
    s: Float[Tensor, " p"] | None = None
    smallest_curvature: float = math.inf
    """The least pᵀAp/pᵀp met: an upper bound on the smallest eigenvalue of A."""
    relative_residual: float | None = None
    trace: tuple[tuple[int, float], ...] = ()
    max_iterations: int = 0
    rounding_limited: bool = False
    """Stopped because more iterations would not lower the residual."""


_Product = Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]]


def _iterate(
    product: _Product,
    precondition: Precondition,
    v: Float[Tensor, " p"],
    tolerance: float,
    max_iterations: int,
    report: Progress,
) -> _Run:
    """Preconditioned CG on A s = v from s = 0 (Hestenes & Stiefel, 1952; Saad, 2003, algorithm 9.1), with
    three departures from the textbook.

    The recurrence of the residual r drifts from v − A s, so the latter is computed every so often and before
    the iteration may stop; where the two disagree, the search starts afresh from the truth. A direction p
    with pᵀAp at rounding ends the iteration: a step along it would be made of rounding errors. And a truth
    that was not halved between two fresh starts is at rounding itself: more steps would not lower it.
    """
    s, r, p = torch.zeros_like(v), v, precondition(v)
    norm, squared = float(v.norm()), float(v.dot(p))
    smallest, largest, last_start = math.inf, 0.0, math.inf
    relative, rounding_limited = 1.0, False
    trace: list[tuple[int, float]] = []
    status, evidence = Status.NOT_CONVERGED, f"{max_iterations} iterations, all that are allowed"
    if norm == 0:
        return _Run(status=Status.CONVERGED, evidence="nothing to do at v = 0", s=s, relative_residual=0.0)
    for step in range(1, max_iterations + 1):
        image = product(p)
        curvature = float(p.dot(image) / p.dot(p))
        smallest, largest = min(smallest, curvature), max(largest, float(image.norm() / p.norm()))
        # Written so that NaN is refused too.
        if not curvature > rounding(v) * largest:
            status, evidence = Status.SINGULAR, f"a direction of curvature {curvature:.1e} in step {step}"
            break
        length = squared / float(p.dot(image))
        s, r = s + length * p, r - length * image
        relative, drifted = float(r.norm()) / norm, False
        if relative <= tolerance or step % RECOMPUTE_EVERY == 0 or step == max_iterations:
            truth = v - product(s)
            relative, drifted = float(truth.norm()) / norm, bool((truth - r).norm() > DRIFT * truth.norm())
            # As long as they agree the recurrence goes on: to replace it disturbs conjugacy and costs steps.
            r = truth if drifted else r
        trace.append((step, relative))
        report(step, max_iterations)
        if relative <= tolerance:
            status, evidence = Status.CONVERGED, f"{step} iterations"
            break
        if drifted and relative > last_start / 2:
            rounding_limited = True
            evidence = f"{step} iterations, the last ones in vain because of {v.dtype} rounding"
            break
        last_start = relative if drifted else last_start
        z = precondition(r)
        previous, squared = squared, float(r.dot(z))
        p = z if drifted else z + (squared / previous) * p
    return _Run(
        status=status,
        evidence=f"{evidence}, relative residual {relative:.1e} for a tolerance of {tolerance:.0e}",
        s=s if status is Status.CONVERGED else None,
        smallest_curvature=smallest,
        relative_residual=relative,
        trace=tuple(trace),
        max_iterations=max_iterations,
        rounding_limited=rounding_limited,
    )


def _find_obstacle(
    curvature: Curvature, damping: float, precondition: Precondition, max_iterations: int, report: Progress
) -> _Run | None:
    """A failed run when A is singular or cannot be told from it, None when A is definite.

    Nothing more is asked of an A proven to have no eigenvalue below l2 + damping, if that is above rounding.
    Of another, two things. Softmax regression does not change when one number is added to every parameter, so
    without L2 and damping A annihilates the vector of ones, which one product shows. And if any A has a null
    vector u, ‖u‖ = 1, then no z brings the residual of A z = w, w ~ N(0, I), under |uᵀw| ~ |N(0, 1)|: A is
    cleared once CG brings it under 0.001, which a singular A passes with a chance of 8e-4. Neither probe
    calls a definite A singular, however small its eigenvalues, as long as they are above rounding: pᵀAp/pᵀp
    is never below the smallest.
    """
    product = damped_product(curvature, damping)
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(curvature.num_parameters, generator=generator, dtype=curvature.dtype).to(curvature.device)
    typical = float(product(w).norm() / w.norm())
    if curvature.convex and curvature.l2 + damping > rounding(w) * typical:
        return None
    ones = torch.ones_like(w)
    along_ones = float(ones.dot(product(ones))) / len(w)
    if not along_ones > rounding(w) * typical:
        evidence = f"adding one number to all {len(w)} parameters meets a curvature of {along_ones:.1e}"
        return _Run(status=Status.SINGULAR, evidence=evidence, smallest_curvature=along_ones)
    run = _iterate(product, precondition, w, NULL_COMPONENT / float(w.norm()), max_iterations, report)
    if run.status is Status.CONVERGED:
        return None
    evidence = f"tried on a random right-hand side, which no singular matrix can answer: {run.evidence}"
    return replace(run, evidence=evidence, relative_residual=None, trace=())
