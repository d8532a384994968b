"""How far a leave-one-out model, and a test loss computed from it, can be from the truth.

R₋ᵢ is l2-strongly convex, so its minimiser θ* lies within ‖∇R₋ᵢ(θ)‖/l2 of θ. The gradient of the test loss,
(p − y) ⊗ x, is never longer than √2‖x‖. Hence |ℓ(z, θ) − ℓ(z, θ*)| ≤ √2‖x‖·‖∇R₋ᵢ(θ)‖/l2, with ‖∇R₋ᵢ(θ)‖
replaced by its computed value plus a bound on the rounding in it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from retrain.distributed import num_ranks
from retrain.removal import CHUNK_ROWS, RemovalProblem

UNIT_ROUNDOFF = 2.0**-53


def gradient_rounding_bound(
    problem: RemovalProblem, difference_norms: Float[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """A worst-case bound on the rounding error of ‖∇R₋ᵢ(θ̂ + Δᵢ)‖ computed in float64.

    A sum of m products errs by at most γ_m Σ|aⱼbⱼ|, γ_m = m·u/(1 − m·u) (Higham, Accuracy and Stability of
    Numerical Algorithms, §3.1). It is applied to the logits (m = d), through the softmax, whose Jacobian has
    norm ≤ ½, to the probabilities, and to the sums over examples, blocked by `CHUNK_ROWS` and over ranks.
    Doubled to cover second-order terms and the n-free remainder.

    Args:
        problem: the leave-one-out risks.
        difference_norms: ‖Δᵢ‖₂ of each model.
    """
    n, num_classes = problem.num_examples, problem.num_classes
    gamma_logits = _gamma(problem.num_features)
    gamma_sum = _gamma(min(CHUNK_ROWS, n) + math.ceil(n / CHUNK_ROWS) + num_ranks())
    elementwise = (num_classes + 10) * UNIT_ROUNDOFF
    mean_length, mean_square = problem.mean_length, problem.mean_squared_length
    weight_norm = problem.weights.norm() + difference_norms
    logits = 0.5 * math.sqrt(num_classes) * gamma_logits * weight_norm * mean_square
    residual_lengths = math.sqrt(2) * mean_length + 0.5 * difference_norms * mean_square
    residuals = residual_lengths * (gamma_sum + elementwise)
    regulariser = 4 * UNIT_ROUNDOFF * problem.l2 * weight_norm
    bound: Tensor = 2 * n / (n - 1) * (logits + residuals) + regulariser
    return bound


def distance_bound(
    gradient_norms: Float[Tensor, " B"], rounding_bounds: Float[Tensor, " B"], l2: float
) -> Float[Tensor, " B"]:
    """‖θ − θ*‖ ≤ (‖∇R₋ᵢ(θ)‖ + rounding)/l2, by strong convexity."""
    assert l2 > 0
    return (gradient_norms + rounding_bounds) / l2


def loss_error_bound(features: Float[Tensor, "t d"], distances: Float[Tensor, " B"]) -> Float[Tensor, "t B"]:
    """√2‖x‖ times the distance to the minimiser: a bound on the error of each test loss (no L2).

    Args:
        features: test examples as the model sees them, bias column included.
        distances: bound on ‖θ − θ*‖ of each model.
    """
    bound: Tensor = math.sqrt(2) * features.norm(dim=1)[:, None] * distances[None, :]
    return bound


def loss_change(
    features: Float[Tensor, "t d"],
    log_probabilities: Float[Tensor, "t K"],
    labels: Float[Tensor, "t K"],
    differences: Float[Tensor, "B K d"],
) -> Float[Tensor, "t B"]:
    """ℓ(z, θ̂ + Δ) − ℓ(z, θ̂) = log Σ p·exp(u) − u_y with u = Δx.

    Where u is small this is log(1 + Σ p·expm1(u)) − u_y, free of cancellation; where it is large, the sum is
    taken of logarithms, free of overflow.

    Args:
        features: test examples as the model sees them.
        log_probabilities: log p of those examples, p = softmax at θ̂.
        labels: their one-hot labels.
        differences: Δ of each model.
    """
    logits = torch.einsum("td,bkd->tbk", features, differences)
    small = torch.log1p((log_probabilities.exp()[:, None, :] * torch.expm1(logits.clamp(-1, 1))).sum(-1))
    large = torch.logsumexp(log_probabilities[:, None, :] + logits, dim=-1)
    total = torch.where(logits.abs().amax(-1) <= 1, small, large)
    return total - (labels[:, None, :] * logits).sum(-1)


def _gamma(terms: int) -> float:
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
