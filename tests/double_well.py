"""A risk of one parameter with two minima, of which leaving out a row can take one: what happens is known."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

LARGEST_TILT = 2 / 3**1.5
"""θ³ − θ + a has three zeros for |a| below it, and one above."""


@dataclass(frozen=True)
class DoubleWell:
    """L(zᵢ, θ) = (θ² − 1)²/4 + aᵢθ: R has a minimum near 1 while the mean of a is below `LARGEST_TILT`."""

    a: Tensor
    l2: float = 0.0
    num_parameters: int = 1

    @property
    def num_examples(self) -> int:
        return len(self.a)

    def to(self, dtype: torch.dtype) -> "DoubleWell":
        return replace(self, a=self.a.to(dtype))

    def subset(self, indices: Tensor) -> "DoubleWell":
        return replace(self, a=self.a[indices])

    def initial_parameters(self) -> Tensor:
        return self.a.new_ones(1)

    def per_example_losses(self, theta: Tensor) -> Tensor:
        return self.losses(theta, self.a[:, None], self.a.long())

    def value(self, theta: Tensor) -> Tensor:
        return self.per_example_losses(theta).mean()

    def gradient(self, theta: Tensor) -> Tensor:
        return theta**3 - theta + self.a.mean()

    def value_and_gradient(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(theta), self.gradient(theta)

    def per_example_gradient_dot(self, theta: Tensor, v: Tensor) -> Tensor:
        return (theta**3 - theta + self.a) * v

    def per_example_gradient_dots(self, theta: Tensor, v: Tensor) -> Tensor:
        return torch.stack([self.per_example_gradient_dot(theta, one) for one in v])

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (theta**2 - 1) ** 2 / 4 + x[:, 0] * theta

    def loss_gradient(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (theta**3 - theta + x[:, 0])[:, None]

    def predict(self, theta: Tensor, x: Tensor) -> Tensor:
        return torch.zeros(len(x), dtype=torch.int64)

    def curvature(self, theta: Tensor) -> "WellCurvature":
        return WellCurvature(3 * theta**2 - 1, self.num_examples)


@dataclass(frozen=True)
class WellCurvature:
    """3θ² − 1."""

    second: Tensor
    num_examples: int
    num_parameters: int = 1
    l2: float = 0.0
    convex: bool = False

    @property
    def device(self) -> torch.device:
        return self.second.device

    @property
    def dtype(self) -> torch.dtype:
        return self.second.dtype

    def product(self, v: Tensor) -> Tensor:
        return self.second * v

    def batch_product(self, indices: Tensor, v: Tensor) -> Tensor:
        return self.second * v

    def subset(self, indices: Tensor, dtype: torch.dtype) -> "WellCurvature":
        return replace(self, num_examples=len(indices), second=self.second.to(dtype))

    def matrix(self) -> Tensor:
        return self.second[None].clone()
