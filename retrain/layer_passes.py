"""Sums over all examples for many networks at once, where each begins with a linear layer, a = W x + b.

As in `erm/first_layer.py` the loss depends on W and b through a alone. Along (V, v_b, v_ψ) the outputs a move
on a straight line, ȧ = V x + v_b, so this holds for derivatives of every order: a pass is two matrix products
with the features for all networks together, and between them a derivative by each network's few outputs.
Features that are zero in a chunk of examples are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import grad, jvp, vmap

from erm.autograd import AutogradRisk
from erm.first_layer import BIAS, WEIGHT, first_linear, loss_after
from erm.pass_order import CHUNK_ROWS, PassOrder, pass_order

Part = dict[str, Tensor]
"""ψ by name."""
Head = Callable[..., tuple[Tensor, Part]]
"""(a, ψ, y), with order 2 and 3 (a, ψ, ȧ, ψ̇, y) ↦ a derivative of the loss's sum, by a and by ψ."""


@dataclass(frozen=True)
class LayerPasses:
    """The examples of a risk whose network begins with a linear layer, as passes go through them."""

    risk: AutogradRisk
    order: PassOrder

    def to(self, dtype: torch.dtype) -> "LayerPasses":
        """In another precision, in the same order."""
        return LayerPasses(self.risk.to(dtype), self.order)

    def sums(
        self, order: int, thetas: Float[Tensor, "B p"], v: Float[Tensor, "B p"] | None = None
    ) -> Float[Tensor, "B p"]:
        """Σ over all examples of ∇CE, ∇²CE v or D³CE[v, v, ·] of each network: no L2, not divided by n.

        Args:
            order: 1, 2 or 3.
            v: a direction for each, where `order` is 2 or 3.
        """
        points = [vmap(self.risk.unflatten)(one) for one in (thetas, v) if one is not None]
        columns, biases = self._columns(points), _biases(points)
        others = [{name: part for name, part in of.items() if name not in (WEIGHT, BIAS)} for of in points]
        head = vmap(_head(self.risk.module, order), in_dims=(*(0 for _ in points * 2), None))
        count, units = points[0][WEIGHT].shape[:2]
        weight, rest = torch.zeros_like(columns[: count * units]), Part()
        chunks = zip(
            torch.split(self._x, CHUNK_ROWS), torch.split(self._y, CHUNK_ROWS), self.order.widths, strict=True
        )
        for x, y, width in chunks:
            present = x[:, :width]
            outputs = columns[:, :width] @ present.T
            a = outputs.view(len(points), count, units, -1).transpose(2, 3)
            a = a if biases is None else a + biases
            g, psi = head(*(one for pair in zip(a, others, strict=True) for one in pair), y)
            weight[:, :width].addmm_(g.transpose(1, 2).reshape(count * units, -1), present)
            for name, part in (psi if biases is None else psi | {BIAS: g.sum(1)}).items():
                rest[name] = rest[name] + part if name in rest else part
        in_place = torch.empty_like(weight)
        in_place[:, self.order.features] = weight
        found = rest | {WEIGHT: in_place.view(count, -1)}
        return torch.cat([found[name].flatten(1) for name in points[0]], dim=1)

    def _columns(self, points: list[Part]) -> Float[Tensor, "columns d"]:
        """W of all networks, and V of all, in the order of features."""
        return torch.cat([of[WEIGHT].flatten(0, 1) for of in points])[:, self.order.features]

    @cached_property
    def _x(self) -> Float[Tensor, "n d"]:
        return self.risk.x[self.order.rows][:, self.order.features]

    @cached_property
    def _y(self) -> Tensor:
        return self.risk.y[self.order.rows]


def layer_passes(risk: AutogradRisk) -> LayerPasses | None:
    """Passes through the first layer; None where a network does not begin with a linear one."""
    return None if first_linear(risk.module) is None else LayerPasses(risk, pass_order(risk.x))


def _biases(points: list[Part]) -> Float[Tensor, "k B 1 units"] | None:
    return torch.stack([of[BIAS] for of in points])[:, :, None] if BIAS in points[0] else None


def _head(module: Any, order: int) -> Head:
    """The derivative of one network's loss: a function of a, ψ, the direction it is taken along, and y."""
    function: Head = partial(grad(loss_after, argnums=(1, 2)), module)
    for _ in range(order - 1):
        function = partial(_along, function)
    return function


def _along(function: Head, a: Tensor, psi: Part, *others: Any) -> tuple[Tensor, Part]:
    """The derivative of `function` along (ȧ, ψ̇), the first two of `others`."""
    deeper = others if isinstance(function, partial) and function.func is _along else others[2:]
    found: tuple[Tensor, Part] = jvp(lambda *at: function(*at, *deeper), (a, psi), tuple(others[:2]))[1]
    return found
