"""The Hessian of an `AutogradRisk` at one θ.

As a matrix it is in general p Hessian-vector products with unit vectors, some at a time. Of a network that
begins with a linear layer only the other parameters, which are few, take a product each: see
`erm.first_layer`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vmap
from torch.nn.functional import one_hot

from erm.first_layer import WEIGHT, FirstLayer, weight_block
from erm.pass_order import pass_order

VECTORS_TOGETHER = 16
"""Vectors that share one pass over a chunk of examples: most of the speed of more, at bounded memory."""


@runtime_checkable
class Differentiated(Protocol):
    """What of an `AutogradRisk` its curvature is made of."""

    @property
    def x(self) -> Float[Tensor, "n features"]: ...
    @property
    def y(self) -> Int[Tensor, " n"]: ...
    @property
    def l2(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def decay(self) -> Float[Tensor, " p"]: ...
    @property
    def num_examples(self) -> int: ...
    @property
    def num_parameters(self) -> int: ...

    def own_chunks(self) -> Iterator[tuple[Float[Tensor, "b features"], Int[Tensor, " b"]]]: ...

    def first_layer(self, theta: Float[Tensor, " p"]) -> FirstLayer | None: ...

    def hvp_sum(
        self,
        theta: Float[Tensor, " p"],
        v: Float[Tensor, " p"],
        x: Float[Tensor, "m features"],
        y: Int[Tensor, " m"],
    ) -> Float[Tensor, " p"]: ...

    def hvp_sums(self, theta: Float[Tensor, " p"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]: ...

    def subset(self, indices: Int[Tensor, " b"]) -> "Differentiated": ...

    def to(self, dtype: torch.dtype) -> "Differentiated": ...


@dataclass(frozen=True)
class AutogradCurvature:
    """The Hessian of an `AutogradRisk` at one θ; every product differentiates anew."""

    risk: Differentiated
    theta: Float[Tensor, " p"]
    convex: ClassVar[bool] = False
    """Any module may stand here."""

    @property
    def num_examples(self) -> int:
        return self.risk.num_examples

    @property
    def num_parameters(self) -> int:
        return self.risk.num_parameters

    @property
    def device(self) -> torch.device:
        return self.theta.device

    @property
    def dtype(self) -> torch.dtype:
        return self.theta.dtype

    @property
    def l2(self) -> float:
        return self.risk.l2

    def product(self, v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        return self.risk.hvp_sums(self.theta, v) / self.num_examples + self.risk.decay * v

    def batch_product(self, indices: Int[Tensor, "r b"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        total = torch.zeros_like(v)
        hvps = vmap(partial(self.risk.hvp_sum, self.theta), chunk_size=VECTORS_TOGETHER)
        for chunk in torch.split(indices, self.risk.batch_size, dim=1):
            total += hvps(v, self.risk.x[chunk], self.risk.y[chunk])
        return total / indices.shape[1] + self.risk.decay * v

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> "AutogradCurvature":
        return AutogradCurvature(self.risk.subset(indices).to(dtype), self.theta.to(dtype))

    def matrix(self) -> Float[Tensor, "p p"]:
        hessian = _hessian_sum(self.risk, self.theta).div_(self.num_examples)
        hessian.diagonal().add_(self.risk.decay)
        return hessian


def _hessian_sum(risk: Differentiated, theta: Float[Tensor, " p"]) -> Float[Tensor, "p p"]:
    """Σᵢ ∇²CE(zᵢ, θ) over all training examples: symmetric, no L2, not divided by n."""
    layer = risk.first_layer(theta)
    inside = 0 if layer is None else layer.parameters[WEIGHT].numel()
    hessian = theta.new_zeros(len(theta), len(theta))
    others = torch.arange(inside, len(theta), device=theta.device)
    for rows in torch.split(others, VECTORS_TOGETHER):
        hessian[rows] = risk.hvp_sums(theta, one_hot(rows, len(theta)).to(theta))
    hessian[:inside, inside:] = hessian[inside:, :inside].T
    square = hessian[inside:, inside:]
    square.copy_((square + square.T) / 2)
    if layer is not None:
        block, order = theta.new_empty(inside, inside), pass_order(risk.x)
        x = risk.x[order.rows][:, order.features]
        for u in range(len(layer.parameters[WEIGHT])):
            second = torch.cat([layer.second_derivatives(u, *chunk) for chunk in risk.own_chunks()])
            weight_block(x, second[order.rows], u, order, out=block)
        hessian[:inside, :inside] = block
    return hessian
