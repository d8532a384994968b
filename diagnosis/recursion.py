"""Does LiSSA work with these settings, and which settings would reach one per cent?"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diagnosis.limits import LISSA_ERROR
from diagnosis.verdict import Verdict
from erm.risk import Curvature
from influence.lissa import LiSSA
from influence.solution import Solution, small_sample_factor

TARGET = 0.01
"""Relative error of s_test aimed at by the settings that are advised."""


@dataclass(frozen=True, kw_only=True)
class BatchCurvature:
    """Largest eigenvalues of the Hessians of batches, L2 inside."""

    mean: float
    percentile_99: float
    largest: float
    share_expanding: float
    """Of the batches, those whose step makes some direction longer."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The ends of the spectrum of H, L2 inside."""

    smallest: float
    """0 if it is rounding."""
    largest: float


def batch_curvature(curvature: Curvature, solver: LiSSA, v: Float[Tensor, " p"]) -> BatchCurvature:
    """Sample batches as the recursion draws them."""
    eigenvalues = solver.batch_eigenvalues(curvature, v)
    return BatchCurvature(
        mean=float(eigenvalues.mean()),
        percentile_99=float(eigenvalues.quantile(0.99)),
        largest=float(eigenvalues.max()),
        share_expanding=float((eigenvalues + solver.damping > 2 * solver.scale).double().mean()),
    )


def relative_error(solution: Solution, exact: Solution) -> float | None:
    """‖s − s_exact‖/‖s_exact‖; None where either is missing or s_exact = 0.

    Args:
        solution: what is judged.
        exact: of the same system, damping included, by a solver whose residual is small against the limits.
    """
    if solution.status.failed or exact.status.failed or not exact.value.any():
        return None
    return float((solution.value - exact.value).norm() / exact.value.norm())


def check_recursion(
    solver: LiSSA, batches: BatchCurvature, ends: Ends, solution: Solution, error: float | None
) -> Verdict:
    """Judge the settings by what one run of them gave, and explain it by the modes and the noise.

    Bad when the error is too large, or, where there is no exact solution to measure it by, when what the
    modes and the noise leave room for is. With one repeat the noise is not known, so what is not bad is
    undecided.

    Args:
        solution: what the solver returned for the test gradient.
        error: of that, after `relative_error`.
    """
    slow, fast = _modes_left(solver, ends)
    noise = None if solution.status.failed else _standard_error(solution)
    numbers = {
        "scale": solver.scale,
        "depth": solver.depth,
        "repeats": solver.repeats,
        "damping": solver.damping,
        "slowest_mode_left": slow,
        "fastest_mode_left": fast,
        "batch_eigenvalue_mean": batches.mean,
        "batch_eigenvalue_p99": batches.percentile_99,
        "batch_eigenvalue_max": batches.largest,
        "share_of_steps_expanding": batches.share_expanding,
        "relative_error": error,
        "relative_standard_error": noise,
    }
    about = (
        f"scale {solver.scale:g} against batch Hessians with eigenvalues of {batches.mean:.3g} on average, "
        f"{batches.largest:.3g} at most ({batches.share_expanding:.1%} of the steps expand)"
    )
    if solution.status.failed:
        stable = replace(solver, scale=_stable_scale(solver, batches))
        return Verdict(
            check="LiSSA",
            passed=False,
            evidence=f"{about}: {solution.message.split(':')[0]}",
            remedy=_remedy(stable, ends, None),
            numbers=numbers,
        )
    if not solution.value.any() and solution.relative_residual == 0:
        nothing = f"{about}; the test gradient is 0, so s_test is 0 whatever the settings"
        return Verdict(check="LiSSA", passed=None, evidence=nothing, numbers=numbers)
    left = f"{slow:.0%} of the slowest mode is left after {solver.depth} steps"
    if fast > slow:
        left = f"{fast:.0%} of the fastest mode is left after {solver.depth} steps: scale is too small"
    spread = "unknown with one repeat" if noise is None else f"{noise:.0%}"
    measured = "cannot be measured" if error is None else f"{error:.0%}"
    passed = _state(error, max(slow, fast), noise)
    return Verdict(
        check="LiSSA",
        passed=passed,
        evidence=(
            f"{about}; {left}, the standard error of s_test over {solver.repeats} repeats is {spread}, and "
            f"its error against the exact solution {measured}"
        ),
        remedy=_remedy(solver, ends, noise) if not (passed and _room(slow, fast, noise) <= TARGET) else "",
        numbers=numbers,
    )


def _state(error: float | None, modes: float, noise: float | None) -> bool | None:
    found = _room(modes, 0.0, noise) if error is None else error
    # Written so that NaN counts as bad.
    if not found <= LISSA_ERROR:
        return False
    return True if noise is not None and noise <= LISSA_ERROR else None


def _room(slow: float, fast: float, noise: float | None) -> float:
    """What modes and noise leave room for, as a relative error of s_test."""
    return math.hypot(max(slow, fast), noise or 0.0)


def _modes_left(solver: LiSSA, ends: Ends) -> tuple[float, float]:
    """|1 − (μ + damping)/scale|^(depth + 1) at both ends: between them it is less, being convex in μ."""
    slow, fast = (
        _power(abs(1 - (mu + solver.damping) / solver.scale), solver.depth + 1)
        for mu in (max(ends.smallest, 0.0), max(ends.largest, 0.0))
    )
    return slow, fast


def _power(base: float, exponent: int) -> float:
    """baseᵉˣᵖᵒⁿᵉⁿᵗ; infinity where that overflows."""
    return math.inf if base > 1 and exponent * math.log(base) > 700 else base**exponent


def _standard_error(solution: Solution) -> float | None:
    """‖standard error of s‖/‖s‖ over the repeats, widened for how few they are; None for one, or if s = 0."""
    repeats = solution.repeats
    if repeats is None or len(repeats) < 2 or not solution.value.any():
        return None
    variance = repeats.var(dim=0).sum() / len(repeats)
    return small_sample_factor(len(repeats)) * float(torch.sqrt(variance) / solution.value.norm())


def _stable_scale(solver: LiSSA, batches: BatchCurvature) -> float:
    return max(2 * solver.scale, batches.largest + solver.damping)


def _remedy(solver: LiSSA, ends: Ends, noise: float | None) -> str:
    """Settings for an error of `TARGET`: half of it for the modes, the rest for the noise."""
    slowest = max(ends.smallest, 0.0) + solver.damping
    if slowest <= 0:
        return "no depth will do: H is singular. Add model.l2 or influence.damping first"
    # From the largest eigenvalue on, no mode is slower than the slowest, and none changes its sign.
    scale = max(solver.scale, ends.largest + solver.damping)
    depth = math.ceil(math.log(2 / TARGET) * scale / slowest)
    repeats = max(2, solver.repeats)
    if noise is not None:
        repeats = max(2, math.ceil(solver.repeats * (2 * noise / TARGET) ** 2))
    settings = f"influence.scale={scale:.3g} influence.depth={depth} influence.repeats={repeats}"
    return f"{TARGET:.0%} takes {settings}; --method cg gets there at a fraction of the cost"
