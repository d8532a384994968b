"""Is θ̂ a minimiser, measured against what the figure shows: the effects of single removals?

An actual change is ℓ(θ̂₋ᵢ) − ℓ(θ̂). If θ̂ is not the minimiser, every one of them is off by what a step to it
would still change: a shift, common to all points. Where training is stochastic, so is another order of the
examples.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diagnosis.limits import LEFT, LEFT_UNREADABLE, TRAINING_NOISE
from diagnosis.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Left:
    """What training has left to do at θ̂."""

    gradient_norm: float
    """‖∇R(θ̂)‖₂."""
    change: float
    """|s_testᵀ∇R(θ̂)|: a Newton step to the minimiser changes the test loss by so much, to first order."""
    at_most: float
    """‖s_test‖‖∇R(θ̂)‖: the same if the gradient that is left pointed the worst way."""
    damping: float
    """Of the estimate: s_test = (H + damping·I)⁻¹∇ℓ."""


def what_is_left(gradient: Float[Tensor, " p"], s_test: Float[Tensor, " p"], damping: float) -> Left:
    """What ∇R(θ̂) means for a test loss.

    Args:
        gradient: ∇R(θ̂), L2 inside.
        s_test: (H + damping·I)⁻¹∇ℓ(z_test, θ̂).
    """
    norm = float(gradient.norm())
    return Left(
        gradient_norm=norm,
        change=abs(float(torch.dot(gradient, s_test))),
        at_most=norm * float(s_test.norm()),
        damping=damping,
    )


def check_convergence(left: Left, typical_effect: float, fit: str = "newton") -> Verdict:
    """Hold what training has left against the effects that the figure shows.

    Against a typical one, because a few outliers, which may even cancel in ∇R, can make the largest effect as
    large as they like.

    Args:
        typical_effect: the median size of the predicted changes of the points that the figure shows.
        fit: which one ends at a minimum of such a model.
    """
    damped = f" (estimated with damping {left.damping:g})" if left.damping else ""
    said = (
        f"‖∇R(θ̂)‖ = {left.gradient_norm:.1e}; what is left may still move the test loss by "
        f"{left.change:.1e}{damped}"
    )
    numbers = {
        "gradient_norm": left.gradient_norm,
        "remaining_test_loss_change": left.change,
        "remaining_at_most": left.at_most,
        "typical_effect": typical_effect,
    }
    if not typical_effect > 0:
        return _nothing_to_hold_against("converged", said, numbers)
    ratio = left.change / typical_effect
    passed = _state(ratio, left.at_most / typical_effect)
    lucky = passed is None and ratio <= LEFT
    return Verdict(
        check="converged",
        passed=passed,
        evidence=f"{said}, {ratio:.2g} times the typical effect in the figure ({typical_effect:.1e})"
        + (f", and by {left.at_most:.1e} if it pointed another way" if lucky else ""),
        remedy="" if passed else _remedy(left, typical_effect, fit),
        numbers=numbers | {"ratio": ratio},
    )


def _nothing_to_hold_against(check: str, said: str, numbers: dict[str, float]) -> Verdict:
    evidence = f"{said}; no removal is predicted to, so there is nothing to hold that against"
    return Verdict(check=check, passed=None, evidence=evidence, numbers=numbers)


def _state(ratio: float, at_most: float) -> bool | None:
    """NaN, which an undefined estimate gives, is undecided."""
    if ratio > LEFT_UNREADABLE:
        return False
    # Small in one direction by chance is not small: what is left must not reach an effect in any direction.
    return True if ratio <= LEFT and at_most <= 1 else None


def _remedy(left: Left, typical_effect: float, fit: str) -> str:
    if not left.at_most > 0:
        return f"train further: fit={fit}"
    wanted = left.gradient_norm * LEFT * typical_effect / left.at_most
    # Damped, H is not positive definite, and the check of its curvature says how much is enough.
    other = "" if left.damping else "; retrain=quadratic asks what the quadratic around θ̂ would do instead"
    return f"train further, to ‖∇R(θ̂)‖ ≤ {wanted:.0e}: fit={fit} does{other}"


def check_training_noise(change: float, largest_effect: float, fit: str = "newton") -> Verdict:
    """Compare what another order of the examples does to the test loss with what a removal should do.

    Args:
        change: of the test loss between two trainings that differ in their seed alone, nothing removed.
        largest_effect: the largest predicted change when one example is removed.
        fit: which one ends at a minimum of such a model.
    """
    numbers = {"change_with_another_seed": change, "largest_effect": largest_effect}
    moved = f"trained again with another seed and nothing removed, the test loss moves by {abs(change):.1e}"
    if not largest_effect > 0:
        return _nothing_to_hold_against("training noise", moved, numbers)
    ratio = abs(change) / largest_effect
    passed = ratio <= TRAINING_NOISE
    return Verdict(
        check="training noise",
        passed=passed,
        evidence=(
            f"{moved}; the largest predicted effect of a removal is {largest_effect:.1e}, so the noise of "
            f"retraining is {ratio:.2g} times the effect"
        ),
        remedy="" if passed else f"retrain to a gradient norm, not for a number of steps: fit={fit}",
        numbers=numbers | {"ratio": ratio},
    )
