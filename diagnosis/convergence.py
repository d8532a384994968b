"""Is θ̂ a minimiser, measured against what is to be seen: the removal of one example?"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diagnosis.verdict import Verdict
from erm.risk import EmpiricalRisk

MAX_SHARE = 1e-3
"""A gradient that is left must be below this share of what one removal makes it."""
CHUNK_ROWS = 512


def largest_example_gradient(
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    x: Float[Tensor, "n features"],
    y: Int[Tensor, " n"],
) -> float:
    """max‖∇L(zᵢ, θ)‖₂ over the training examples, L2 inside.

    Args:
        risk: the empirical risk.
        theta: where.
        x: training features without bias column.
        y: their labels.
    """
    largest = 0.0
    for rows in range(0, len(x), CHUNK_ROWS):
        chunk = slice(rows, rows + CHUNK_ROWS)
        gradients = risk.loss_gradient(theta, x[chunk], y[chunk]) + risk.l2 * theta
        largest = max(largest, float(gradients.norm(dim=1).max()))
    return largest


def check_convergence(
    gradient_norm: float,
    largest_gradient: float,
    num_examples: int,
    remaining_change: float,
    damping: float,
) -> Verdict:
    """Compare ‖∇R(θ̂)‖ with max‖∇L(zᵢ)‖/n, the most that one removal changes the gradient.

    Args:
        gradient_norm: ‖∇R(θ̂)‖₂.
        largest_gradient: max‖∇L(zᵢ, θ̂)‖₂.
        num_examples: n.
        remaining_change: |∇ℓᵀ(H + damping·I)⁻¹∇R|: how far the test loss still is from where it would end.
        damping: of that estimate.
    """
    removal = largest_gradient / num_examples
    ratio = gradient_norm / removal
    passed = ratio <= MAX_SHARE
    damped = f" (estimated with damping {damping:g})" if damping else ""
    return Verdict(
        check="converged",
        passed=passed,
        evidence=(
            f"‖∇R(θ̂)‖ = {gradient_norm:.1e}, {ratio:.2g} times what leaving out one example changes it by "
            f"(at most {removal:.1e}); what is left may still move the test loss by "
            f"{remaining_change:.1e}{damped}"
        ),
        remedy=""
        if passed
        else (
            f"train further, to ‖∇R(θ̂)‖ ≤ {MAX_SHARE * removal:.0e}: fit=newton does. Until then the noise "
            f"is {ratio:.2g} times the effect"
        ),
        numbers={
            "gradient_norm": gradient_norm,
            "largest_removal": removal,
            "ratio": ratio,
            "remaining_test_loss_change": remaining_change,
        },
    )


def remaining_change(gradient: Float[Tensor, " p"], s_test: Float[Tensor, " p"]) -> float:
    """|s_testᵀ∇R(θ̂)|: a Newton step to the minimiser changes the test loss by so much, to first order."""
    return abs(float(torch.dot(gradient, s_test)))
