"""From s_test to the influence of every training example on one test loss."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import EmpiricalRisk
from influence.solution import Solution, small_sample_factor


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """What each of the n training examples does to one test loss, in the order of the training examples."""

    influence: Float[Tensor, " n"]
    """I_up,loss(zᵢ, z_test) = −s_testᵀ∇L(zᵢ, θ̂): change of the test loss per unit of weight added to zᵢ."""
    predicted_change: Float[Tensor, " n"]
    """−I_up,loss/n: the change of the test loss that removing zᵢ should cause."""
    predicted_stderr: Float[Tensor, " n"]
    """Standard error of `predicted_change` over the solver's independent repeats, widened for how few they
    are (±2 cover 95 %): NaN for a single repeat, which has no spread, and 0 for a deterministic solver."""


def influence_scores(risk: EmpiricalRisk, theta: Float[Tensor, " p"], solution: Solution) -> Scores:
    """Influence of every training example, after Koh & Liang (2017), equation 2.

    Args:
        risk: its training gradients ∇L(zᵢ, θ̂) have the L2 inside.
        theta: θ̂.
        solution: s_test for v = ∇ℓ(z_test, θ̂), the test gradient without L2.

    Raises:
        ValueError: the solver failed, so there are no numbers to score with; the message repeats its own.
    """
    if solution.status.failed:
        raise ValueError(f"no influence without s_test: {solution.message}")
    products = risk.per_example_gradient_dot(theta, solution.value)
    return Scores(
        influence=-products,
        predicted_change=products / risk.num_examples,
        predicted_stderr=_stderr(risk, theta, solution) / risk.num_examples,
    )


def scores_of_changes(predicted_change: Float[Tensor, " n"]) -> Scores:
    """Of a method that predicts the change itself; its influence is −n times that, as I_up,loss is."""
    return Scores(
        influence=-len(predicted_change) * predicted_change,
        predicted_change=predicted_change,
        predicted_stderr=torch.zeros_like(predicted_change),
    )


def most_influential(influence: Float[Tensor, " n"], top_k: int) -> Int[Tensor, " k"]:
    """Indices of the `top_k` largest |influence|, largest first; of equal ones the lower index first.

    Raises:
        ValueError: `top_k` is outside 1 … n, or an influence is NaN.
    """
    if not 1 <= top_k <= len(influence):
        raise ValueError(f"top_k must lie in 1 … {len(influence)} (the training examples), got {top_k}")
    if influence.isnan().any():
        raise ValueError("cannot rank influences that hold NaN")
    return influence.abs().sort(descending=True, stable=True).indices[:top_k]


def _stderr(risk: EmpiricalRisk, theta: Float[Tensor, " p"], solution: Solution) -> Float[Tensor, " n"]:
    """Standard error of s_testᵀ∇L(zᵢ, θ̂): sample standard deviation over the repeats, over √r, widened."""
    if solution.repeats is None:
        return theta.new_zeros(risk.num_examples)
    num_repeats = len(solution.repeats)
    if num_repeats == 1:
        return theta.new_full((risk.num_examples,), math.nan)
    products = risk.per_example_gradient_dots(theta, solution.repeats)
    return products.std(dim=0, correction=1).mul_(small_sample_factor(num_repeats) / num_repeats**0.5)
