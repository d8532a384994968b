"""Second derivatives of a network that begins with a linear layer, a = W x + b, through a.

The loss of an example depends on W and b only through a, which has few entries and is linear in them. With
φ(a, ψ) the loss as a function of a and of the other parameters ψ, and along (V, v_b, v_ψ):

    ȧ = V x + v_b,     g = ∂²φ/∂a² ȧ + ∂²φ/∂a∂ψ v_ψ,     (H v)_W = Σ_m g_m x_mᵀ,     (H v)_b = Σ_m g_m

so that a Hessian-vector product is two matrix products with the features, and many of them are two larger
ones. And the block of W in H is a weighted Gram matrix of the features for each pair (u, v) of entries of a,
with the weights S_uv(m) = ∂²φ_m/∂a_u∂a_v: an eighth of the arithmetic of products with its unit vectors.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import cross_entropy, linear

from erm.pass_order import PassOrder
from erm.softmax_hessian import weighted_gram

WEIGHT, BIAS = "0.weight", "0.bias"


def first_linear(module: nn.Module) -> nn.Linear | None:
    """The linear layer that a module applies to its input first and uses nowhere else, or None."""
    # Of a subclass nothing is known but its name; a hook may do anything.
    if type(module) is not nn.Sequential or not len(module) or type(module[0]) is not nn.Linear:
        return None
    layer: nn.Linear = module[0]
    own = {id(parameter) for parameter in layer.parameters()}
    uses = sum(id(parameter) in own for _, parameter in module.named_parameters(remove_duplicate=False))
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return None if hooked or uses != len(own) else layer


@dataclass(frozen=True)
class FirstLayer:
    """Such a network at one θ.

    Args:
        module: an `nn.Sequential` for which `first_linear` finds a layer.
        parameters: θ in parts, by name, in the module's order, in which the layer's own come first.
    """

    module: Any
    parameters: dict[str, Tensor]

    @property
    def others(self) -> dict[str, Tensor]:
        """ψ by name."""
        return {name: part for name, part in self.parameters.items() if name not in (WEIGHT, BIAS)}

    def outputs(self, x: Float[Tensor, "m features"]) -> Float[Tensor, "m units"]:
        """a of each example."""
        return linear(x, self.parameters[WEIGHT], self.parameters.get(BIAS))

    def products(
        self, tangents: dict[str, Tensor], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, "r p"]:
        """Σᵢ ∇²CE(zᵢ, θ) v over the given examples for r vectors v.

        Args:
            tangents: the vectors in parts, by name; each part has r as its first dimension.
        """
        a, others = self.outputs(x), self.others
        directions = tangents[WEIGHT]
        count, units, features = directions.shape
        moved = (x @ directions.reshape(-1, features).T).view(len(x), count, units).transpose(0, 1)
        if BIAS in tangents:
            moved = moved + tangents[BIAS][:, None, :]

        gradient = partial(grad(loss_after, argnums=(1, 2)), self.module, y=y)

        def derivative(along_a: Tensor, along_others: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            found: tuple[Tensor, dict[str, Tensor]] = jvp(gradient, (a, others), (along_a, along_others))[1]
            return found

        g, psi = vmap(derivative)(moved, {name: tangents[name] for name in others})
        weight = (g.transpose(1, 2).reshape(-1, len(x)) @ x).view(count, -1)
        bias = [g.sum(1)] if BIAS in tangents else []
        return torch.cat([weight, *bias, *(psi[name].flatten(1) for name in others)], dim=1)

    def second_derivatives(
        self, u: int, x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, "m units"]:
        """S_uv of each example for all v: examples are apart, so one direction asks them all."""
        a = self.outputs(x)
        direction = torch.zeros_like(a)
        direction[:, u] = 1

        gradient = partial(grad(loss_after, argnums=1), self.module, others=self.others, y=y)
        derivative: Tensor = jvp(gradient, (a,), (direction,))[1]
        return derivative


def loss_after(
    module: Any, a: Float[Tensor, "m units"], others: dict[str, Tensor], y: Int[Tensor, " m"]
) -> Float[Tensor, ""]:
    """φ summed over examples: what follows the first layer, on its outputs a."""
    return cross_entropy(functional_call(module[1:], others, (a,)), y, reduction="sum")


def weight_block(
    x: Float[Tensor, "n features"],
    second: Float[Tensor, "n units"],
    u: int,
    order: PassOrder,
    out: Float[Tensor, "q q"],
) -> None:
    """Fill in the blocks (u, v) and (v, u), v ≤ u, of the Hessian of W.

    Args:
        x: features, rows and columns as `order` has them.
        second: S_uv of each example, likewise.
        u: as in `second`.
        order: of examples and features.
        out: the Hessian of W, features in their own order.
    """
    units, features = second.shape[1], x.shape[1]
    blocks, gram = out.view(units, features, units, features), out.new_empty(features, features)
    places = order.features.argsort()
    for v in range(u + 1):
        weighted_gram(x, second[:, v].contiguous(), None, out=gram, widths=order.widths)
        own = gram[places][:, places]
        blocks[u, :, v, :] = own
        blocks[v, :, u, :] = own
