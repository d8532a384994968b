"""What a model must answer: the empirical risk, its derivatives, and its curvature at one point.

Conventions, after Koh & Liang (ICML 2017) as their released code has them:
    L(z, θ) = CE(z, θ) + (l2/2)‖θ‖²          loss of one training example, L2 inside
    R(θ)    = (1/n) Σᵢ L(zᵢ, θ)              empirical risk
    ℓ(z, θ) = CE(z, θ)                       test loss, no L2
Shape legend: n training examples, m other examples, b batch, r vectors side by side, p parameters.
Parameters are one flat vector.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Curvature(Protocol):
    """The Hessian H of R at one fixed θ, L2 inside: H = (1/n) Σᵢ ∇²CE(zᵢ, θ) + l2·I.

    A model may leave some parameters out of L2; I is then 0 in their place on the diagonal.
    """

    @property
    def num_examples(self) -> int: ...

    @property
    def num_parameters(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where vectors must lie, and the result does."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the products."""
        ...

    @property
    def l2(self) -> float:
        """λ of the risk; a lower bound on the eigenvalues only where `convex` says so."""
        ...

    @property
    def convex(self) -> bool:
        """Whether the model proves that no eigenvalue of H is below `l2`; False where it cannot tell."""
        ...

    def product(self, v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        """H v for each of r vectors."""
        ...

    def batch_product(self, indices: Int[Tensor, "r b"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        """Mean Hessian over batch r's own b examples times its own vector: H_{B_r} v_r, L2 inside."""
        ...

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> "Curvature":
        """The Hessian of the mean over some examples, at the same θ, the same L2 inside, in a precision."""
        ...

    def matrix(self) -> Float[Tensor, "p p"]:
        """H itself, explicit and symmetric, in a tensor of its own that the caller may overwrite."""
        ...


@runtime_checkable
class EmpiricalRisk(Protocol):
    """R(θ) over the training examples, and the unregularised loss of any others."""

    @property
    def num_examples(self) -> int: ...

    @property
    def num_parameters(self) -> int: ...

    @property
    def l2(self) -> float: ...

    def to(self, dtype: torch.dtype) -> "EmpiricalRisk":
        """The same risk, computed in another precision."""
        ...

    def subset(self, indices: Int[Tensor, " b"]) -> "EmpiricalRisk":
        """The risk over some of the training examples: the mean over them, the same L2."""
        ...

    def initial_parameters(self) -> Float[Tensor, " p"]:
        """Where training starts."""
        ...

    def value(self, theta: Float[Tensor, " p"]) -> Float[Tensor, ""]:
        """R(θ): mean cross-entropy plus (l2/2)‖θ‖²."""
        ...

    def gradient(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """∇R(θ), L2 inside."""
        ...

    def value_and_gradient(self, theta: Float[Tensor, " p"]) -> tuple[Float[Tensor, ""], Float[Tensor, " p"]]:
        """R(θ) and ∇R(θ) in one pass over the examples."""
        ...

    def per_example_losses(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        """L(zᵢ, θ) of every training example, L2 inside; their mean is `value`."""
        ...

    def per_example_gradient_dot(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, " p"]
    ) -> Float[Tensor, " n"]:
        """∇L(zᵢ, θ)·v of every training example, L2 inside, without an n × p matrix."""
        ...

    def per_example_gradient_dots(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, "r p"]
    ) -> Float[Tensor, "r n"]:
        """`per_example_gradient_dot` of each of r vectors."""
        ...

    def losses(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, " m"]:
        """ℓ(z, θ) of each given example: cross-entropy alone, no L2."""
        ...

    def loss_gradient(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, "m p"]:
        """∇ℓ(z, θ) of each given example, no L2."""
        ...

    def predict(self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"]) -> Int[Tensor, " m"]:
        """The most probable class of each given example."""
        ...

    def curvature(self, theta: Float[Tensor, " p"]) -> Curvature:
        """The Hessian of R at θ, ready for many products."""
        ...
