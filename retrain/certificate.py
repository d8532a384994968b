"""How far the model of a removal, and a test loss computed from it, can be from the truth.

R₋S is l2-strongly convex, so its minimiser θ* lies within ‖∇R₋S(θ)‖/l2 of θ. The gradient of the test loss,
(p − y) ⊗ x, is never longer than √2‖x‖. Hence |ℓ(z, θ) − ℓ(z, θ*)| ≤ √2‖x‖·‖∇R₋S(θ)‖/l2, with ‖∇R₋S(θ)‖
replaced by its computed value plus a bound on the rounding in it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from erm.loss_change import loss_change_by_logits
from retrain.problem import RemovalProblem

UNIT_ROUNDOFF = 2.0**-53


def gradient_rounding_bound(
    problem: RemovalProblem, num_removed: Float[Tensor, " B"], difference_norms: Float[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """A bound on the rounding error of ‖∇R₋S(θ̂ + Δ)‖ computed in float64: ρ of docs/method.md.

    A sum of m products errs by at most γ_m Σ|aⱼbⱼ|, γ_m = m·u/(1 − m·u) (Higham, Accuracy and Stability of
    Numerical Algorithms, §3.1). With M = ‖θ̂‖ + (1 + √K)‖Δ‖, which also bounds what a sum over the classes of
    rounded logits does to the last class:

    - logits of one example, their logarithm of a sum, and what is added to them: (γ_d + (K + 16)u)·M‖x‖. The
      softmax passes them on at most unchanged.
    - probabilities from exact logits: (35K + 160)u, where |u| ≤ 1 multiplies rounding the most.
    - sums over the examples, a term of which meets `problem.longest_sum` = b roundings, of residuals of
      length ≤ √2, for θ̂ and for Δ, whose last class is minus the sum of the others: 2√(2K)·γ_b.

    Each is weighted by ‖x‖ and summed over the n examples, and once more over the removed ones, by chunks of
    the same length. These are some of the n: however many there are, they carry no more than all of them.
    Hence the factor 2; the divisor is n − |S|.

    Args:
        num_removed: |S| of each model. For the null control the bound of one row is taken, which is larger.
        difference_norms: ‖Δ‖₂ of each model.
    """
    n, num_classes = problem.num_examples, problem.num_classes
    weight_norm = problem.weights.norm()
    magnitude = weight_norm + (1 + math.sqrt(num_classes)) * difference_norms
    logits = logit_rounding(problem.num_features, num_classes) * magnitude * problem.mean_squared_length
    sums = 2 * math.sqrt(2 * num_classes) * _gamma(problem.longest_sum)
    elementwise = (35 * num_classes + 160) * UNIT_ROUNDOFF
    residuals = (sums + elementwise) * problem.mean_length
    l2 = problem.l2_of(num_removed)
    # Where λ is λ·n/(n − |S|), it has two roundings of its own.
    roundings = 6 if problem.scales_l2 else 4
    regulariser = roundings * UNIT_ROUNDOFF * l2 * (weight_norm + difference_norms)
    # Not number / tensor, which torch takes for number · (1 / tensor) and rounds twice.
    factors = torch.full_like(num_removed, 2 * n) / (n - num_removed.clamp(min=1))
    bound: Tensor = factors * (logits + residuals) + regulariser
    return bound


def logit_rounding(num_features: int, num_classes: int) -> float:
    """γ_d + (K + 16)u: relative error of a logit of d products, of its log-softmax, and of a change of it."""
    return _gamma(num_features) + (num_classes + 16) * UNIT_ROUNDOFF


def distance_bound(
    problem: RemovalProblem,
    num_removed: Float[Tensor, " B"],
    gradient_norms: Float[Tensor, " B"],
    difference_norms: Float[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """‖θ − θ*‖ ≤ (‖∇R₋S(θ)‖ + rounding)/l2, by strong convexity; arguments: `gradient_rounding_bound`."""
    rounding = gradient_rounding_bound(problem, num_removed, difference_norms)
    return (gradient_norms + rounding) / problem.l2_of(num_removed)


def loss_error_bound(features: Float[Tensor, "t d"], distances: Float[Tensor, " B"]) -> Float[Tensor, "t B"]:
    """√2‖x‖ times the distance to the minimiser: a bound on the error of each test loss (no L2).

    Args:
        features: test examples as the model sees them, bias column included.
    """
    bound: Tensor = math.sqrt(2) * features.norm(dim=1)[:, None] * distances[None, :]
    return bound


def loss_rounding_bound(
    features: Float[Tensor, "t d"],
    num_classes: int,
    weight_norm: Float[Tensor, ""],
    difference_norms: Float[Tensor, " B"],
) -> Float[Tensor, "t B"]:
    """A bound on the rounding error of `loss_change` in float64.

    With e the relative error of a logit, a = ‖θ̂‖‖x‖ and b = ‖Δ‖‖x‖, a change that stays small errs by
    e·b·(4 + 6(2a + K + 16)), as log p errs by e·2a + (K + 16)u ≤ e·(2a + K + 16) and each u by e·b; any other
    by e·(4a + 4b + K + 16).

    Args:
        features: test examples as the model sees them, bias column included.
    """
    lengths = features.norm(dim=1)[:, None]
    at_fit, change = lengths * weight_norm, lengths * difference_norms[None, :]
    small = change * (4 + 6 * (2 * at_fit + num_classes + 16))
    large = 4 * at_fit + 4 * change + num_classes + 16
    # Where ‖Δ‖‖x‖ ≤ 1, every |u| ≤ 1 and the difference form is taken; beyond, either form may be.
    bound: Tensor = logit_rounding(features.shape[1], num_classes) * torch.where(
        change <= 1, small, torch.maximum(small, large)
    )
    return bound


def loss_change(
    features: Float[Tensor, "t d"],
    log_probabilities: Float[Tensor, "t K"],
    labels: Float[Tensor, "t K"],
    differences: Float[Tensor, "B K d"],
) -> Float[Tensor, "t B"]:
    """ℓ(z, θ̂ + Δ) − ℓ(z, θ̂) = log Σ p·exp(u) − u_y with u = Δx.

    Args:
        features: test examples as the model sees them.
        log_probabilities: log p of those examples, p = softmax at θ̂.
        labels: their one-hot labels.
    """
    logits = torch.einsum("td,bkd->tbk", features, differences)
    return loss_change_by_logits(log_probabilities[:, None, :], labels[:, None, :], logits)


def _gamma(terms: int) -> float:
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)
