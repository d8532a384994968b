"""Softmax regression in closed form: the fast implementation of `EmpiricalRisk`.

Parameters are ordered class first, θ = W.flatten() with W of shape (K, d), as in `nn.Linear.weight`. A bias
is one more feature that is always 1, so it is regularised like every other parameter and R stays strongly
convex.
With P the n × K matrix of probabilities and Y the one-hot labels:
    ∇R = (1/n)(P − Y)ᵀX + l2·W          H V = (1/n)[P ∘ (XVᵀ − (P ∘ XVᵀ)1)]ᵀX + l2·V
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from erm.aligned import aligned
from erm.softmax_hessian import cross_entropy_hessian_sum


@dataclass(frozen=True, kw_only=True)
class SoftmaxRisk:
    """Mean cross-entropy of softmax(W x) plus (l2/2)‖W‖².

    Raises:
        ValueError: `l2` is negative or not finite.
    """

    x: Float[Tensor, "n d"]
    """Training features; the last column is 1 when `bias`."""
    y: Int[Tensor, " n"]
    num_classes: int
    l2: float
    bias: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.l2 < float("inf"):
            raise ValueError(f"l2 must be finite and not negative, got {self.l2}")

    @property
    def num_examples(self) -> int:
        return len(self.x)

    @property
    def num_features(self) -> int:
        """d: features of an example, the bias column included."""
        return self.x.shape[1]

    @property
    def num_parameters(self) -> int:
        return self.num_classes * self.num_features

    @cached_property
    def labels(self) -> Float[Tensor, "n K"]:
        """One-hot labels in the precision of the features."""
        return one_hot(self.y, self.num_classes).to(self.x.dtype)

    def to(self, dtype: torch.dtype) -> "SoftmaxRisk":
        return replace(self, x=self.x.to(dtype))

    def subset(self, indices: Int[Tensor, " b"]) -> "SoftmaxRisk":
        return replace(self, x=self.x[indices], y=self.y[indices])

    def initial_parameters(self) -> Float[Tensor, " p"]:
        return self.x.new_zeros(self.num_parameters)

    def features(self, x: Float[Tensor, "m features"]) -> Float[Tensor, "m d"]:
        """Examples as the model sees them: its precision and device, with the bias column if there is one."""
        return with_bias(aligned(x, like=self.x), self.bias)

    def weights(self, theta: Float[Tensor, " p"]) -> Float[Tensor, "K d"]:
        return theta.view(self.num_classes, self.num_features)

    def probabilities(self, theta: Float[Tensor, " p"]) -> Float[Tensor, "n K"]:
        """softmax(W xᵢ) of every training example."""
        return torch.softmax(self.x @ self.weights(theta).T, dim=1)

    def value(self, theta: Float[Tensor, " p"]) -> Float[Tensor, ""]:
        return self.per_example_losses(theta).mean()

    def gradient(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        return self.value_and_gradient(theta)[1]

    def value_and_gradient(self, theta: Float[Tensor, " p"]) -> tuple[Float[Tensor, ""], Float[Tensor, " p"]]:
        logits = self.x @ self.weights(theta).T
        value = cross_entropy(logits, self.y) + 0.5 * self.l2 * theta.dot(theta)
        residuals = torch.softmax(logits, dim=1) - self.labels
        return value, (residuals.T @ self.x).flatten() / self.num_examples + self.l2 * theta

    def per_example_losses(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        logits = self.x @ self.weights(theta).T
        return cross_entropy(logits, self.y, reduction="none") + 0.5 * self.l2 * theta.dot(theta)

    def per_example_gradient_dot(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, " p"]
    ) -> Float[Tensor, " n"]:
        return self.per_example_gradient_dots(theta, v[None])[0]

    def per_example_gradient_dots(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, "r p"]
    ) -> Float[Tensor, "r n"]:
        residuals = self.probabilities(theta) - self.labels
        logits = (self.x @ v.reshape(len(v) * self.num_classes, -1).T).view(len(self.x), len(v), -1)
        return torch.einsum("nk,nrk->rn", residuals, logits) + self.l2 * (v @ theta)[:, None]

    def losses(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, " m"]:
        logits = self.features(x) @ self.weights(theta).T
        return cross_entropy(logits, y.to(logits.device), reduction="none")

    def loss_gradient(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, "m p"]:
        features = self.features(x)
        labels = one_hot(y.to(features.device), self.num_classes).to(features.dtype)
        residuals = torch.softmax(features @ self.weights(theta).T, dim=1) - labels
        return torch.einsum("mk,md->mkd", residuals, features).flatten(1)

    def predict(self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"]) -> Int[Tensor, " m"]:
        return (self.features(x) @ self.weights(theta).T).argmax(dim=1)

    def curvature(self, theta: Float[Tensor, " p"]) -> "SoftmaxCurvature":
        return SoftmaxCurvature(self.x, self.probabilities(theta), self.l2)


@dataclass(frozen=True)
class SoftmaxCurvature:
    """The Hessian of a `SoftmaxRisk` at one θ, which it knows only through the probabilities there."""

    x: Float[Tensor, "n d"]
    probabilities: Float[Tensor, "n K"]
    l2: float
    convex: ClassVar[bool] = True

    @property
    def num_examples(self) -> int:
        return len(self.x)

    @property
    def num_parameters(self) -> int:
        return self.probabilities.shape[1] * self.x.shape[1]

    @property
    def device(self) -> torch.device:
        return self.x.device

    @property
    def dtype(self) -> torch.dtype:
        return self.x.dtype

    def product(self, v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        num_vectors, num_classes = len(v), self.probabilities.shape[1]
        logits = (self.x @ v.reshape(num_vectors * num_classes, -1).T).view(-1, num_vectors, num_classes)
        residuals = _softmax_jacobian_product(self.probabilities[:, None, :], logits)
        summed = residuals.flatten(1).T @ self.x
        return summed.view(num_vectors, -1) / self.num_examples + self.l2 * v

    def batch_product(self, indices: Int[Tensor, "r b"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        x, probabilities = self.x[indices], self.probabilities[indices]
        weights = v.reshape(len(v), probabilities.shape[2], -1)
        residuals = _softmax_jacobian_product(probabilities, torch.bmm(x, weights.transpose(1, 2)))
        # One pass over r × p numbers instead of three: with small batches these passes are all that counts.
        mean_share = 1 / indices.shape[1]
        return torch.baddbmm(weights, residuals.transpose(1, 2), x, beta=self.l2, alpha=mean_share).flatten(1)

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> "SoftmaxCurvature":
        return SoftmaxCurvature(self.x[indices].to(dtype), self.probabilities[indices].to(dtype), self.l2)

    def kronecker_factors(self) -> tuple[Float[Tensor, "K K"], Float[Tensor, "d d"]]:
        """Means over the examples of diag(p) − p pᵀ and of x xᵀ: H is the mean of their products."""
        p, n = self.probabilities, self.num_examples
        return (torch.diag(p.sum(0)) - p.T @ p) / n, self.x.T @ self.x / n

    def hessian_sum(self, rows: slice | None = None) -> Float[Tensor, "K d K d"]:
        """Σᵢ ∇²CE(zᵢ, θ) over all examples (None), or over some rows: such sums add up."""
        chosen = slice(None) if rows is None else rows
        return cross_entropy_hessian_sum(self.x[chosen], self.probabilities[chosen])

    def matrix(self) -> Float[Tensor, "p p"]:
        hessian = self.hessian_sum().view(self.num_parameters, self.num_parameters).div_(self.num_examples)
        hessian.diagonal().add_(self.l2)
        return hessian


def with_bias(x: Float[Tensor, "m features"], bias: bool) -> Float[Tensor, "m d"]:
    """Append a column of ones when the model has a bias."""
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1) if bias else x


def _softmax_jacobian_product(
    probabilities: Float[Tensor, "*#batch K"], logits: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch K"]:
    """(diag(p) − p pᵀ) u along the last axis."""
    weighted = probabilities * logits
    return weighted - probabilities * weighted.sum(-1, keepdim=True)
