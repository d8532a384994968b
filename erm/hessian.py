"""The explicit Hessian of a differentiated risk, as a sum over its examples.

In general it is p Hessian-vector products with unit vectors, some at a time. Of a network that begins with a
linear layer only the other parameters, which are few, take a product each: see `erm.first_layer`.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from erm.first_layer import WEIGHT, FirstLayer, weight_block
from erm.pass_order import pass_order

VECTORS_TOGETHER = 16
"""Vectors that share one pass over a chunk of examples: most of the speed of more, at bounded memory."""


@runtime_checkable
class Differentiated(Protocol):
    """What of an `AutogradRisk` its Hessian is made of."""

    @property
    def x(self) -> Float[Tensor, "n features"]: ...

    def own_chunks(self) -> Iterator[tuple[Float[Tensor, "b features"], Int[Tensor, " b"]]]: ...

    def first_layer(self, theta: Float[Tensor, " p"]) -> FirstLayer | None: ...

    def hvp_sums(self, theta: Float[Tensor, " p"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]: ...


def hessian_sum(risk: Differentiated, theta: Float[Tensor, " p"]) -> Float[Tensor, "p p"]:
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
