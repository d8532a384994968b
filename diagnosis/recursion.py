"""Can LiSSA converge with these settings, and which settings would reach one per cent?"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diagnosis.verdict import Verdict
from erm.risk import Curvature
from influence.lissa import LiSSA
from influence.solution import Solution

TARGET = 0.01
"""Relative error of s_test aimed at."""
ACCEPTED = 0.25
"""Relative error of s_test up to which the recursion is said to work: the paper's settings err by 0.11."""


@dataclass(frozen=True, kw_only=True)
class BatchCurvature:
    """Largest eigenvalues of the Hessians of batches, L2 inside."""

    mean: float
    percentile_99: float
    largest: float
    share_expanding: float
    """Of the batches, those whose step makes some direction longer."""


def batch_curvature(curvature: Curvature, solver: LiSSA, v: Float[Tensor, " p"]) -> BatchCurvature:
    """Sample batches as the recursion draws them."""
    eigenvalues = solver.batch_eigenvalues(curvature, v)
    return BatchCurvature(
        mean=float(eigenvalues.mean()),
        percentile_99=float(eigenvalues.quantile(0.99)),
        largest=float(eigenvalues.max()),
        share_expanding=float((eigenvalues + solver.damping > 2 * solver.scale).double().mean()),
    )


def check_recursion(
    solver: LiSSA, batches: BatchCurvature, smallest_eigenvalue: float, solution: Solution
) -> Verdict:
    """Judge the settings by the slowest mode and by what one run of them gave.

    Args:
        solver: the settings.
        batches: curvature of its batches.
        smallest_eigenvalue: of H, L2 inside; 0 if it is rounding.
        solution: what the solver returned for the test gradient.
    """
    slowest = max(smallest_eigenvalue, 0.0) + solver.damping
    tail = (1 - min(slowest / solver.scale, 1.0)) ** (solver.depth + 1)
    numbers = {
        "scale": solver.scale,
        "depth": solver.depth,
        "repeats": solver.repeats,
        "damping": solver.damping,
        "slowest_mode_left": tail,
        "batch_eigenvalue_mean": batches.mean,
        "batch_eigenvalue_p99": batches.percentile_99,
        "batch_eigenvalue_max": batches.largest,
        "share_of_steps_expanding": batches.share_expanding,
    }
    about = (
        f"scale {solver.scale:g} against batch Hessians with eigenvalues of {batches.mean:.3g} on average, "
        f"{batches.largest:.3g} at most ({batches.share_expanding:.1%} of the steps expand)"
    )
    if solution.status.failed:
        return Verdict(
            check="LiSSA",
            passed=False,
            evidence=f"{about}: it diverges",
            remedy=_remedy(replace(solver, scale=_stable_scale(solver, batches)), slowest, None),
            numbers=numbers,
        )
    noise = _standard_error(solution)
    error = math.hypot(tail, noise or 0.0)
    passed = error <= ACCEPTED
    spread = "unknown with one repeat" if noise is None else f"{noise:.0%}"
    return Verdict(
        check="LiSSA",
        passed=passed,
        evidence=(
            f"{about}; {tail:.0%} of the slowest mode is left after {solver.depth} steps, and the standard "
            f"error of s_test over {solver.repeats} repeats is {spread}"
        ),
        remedy=_remedy(solver, slowest, noise) if error > TARGET else "",
        numbers={**numbers, "relative_standard_error": noise},
    )


def _standard_error(solution: Solution) -> float | None:
    """‖standard error of s‖/‖s‖ over the repeats."""
    repeats = solution.repeats
    if repeats is None or len(repeats) < 2:
        return None
    variance = repeats.var(dim=0).sum() / len(repeats)
    return float(torch.sqrt(variance) / solution.value.norm())


def _stable_scale(solver: LiSSA, batches: BatchCurvature) -> float:
    return max(2 * solver.scale, batches.largest + solver.damping)


def _remedy(solver: LiSSA, slowest: float, noise: float | None) -> str:
    """Settings for an error of `TARGET`: half of it for the slowest mode, the rest for the noise."""
    if slowest <= 0:
        return "no depth will do: H is singular. Add model.l2 or influence.damping first"
    depth = math.ceil(math.log(2 / TARGET) * solver.scale / slowest)
    repeats = solver.repeats
    if noise is not None:
        repeats = math.ceil(solver.repeats * (2 * noise / TARGET) ** 2)
    settings = f"influence.scale={solver.scale:.3g} influence.depth={depth} influence.repeats={repeats}"
    return f"{TARGET:.0%} takes {settings}; --method cg gets there at a fraction of the cost"
