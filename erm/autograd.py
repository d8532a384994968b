"""The empirical risk of any `nn.Module`, differentiated by `torch.func`: the general `EmpiricalRisk`.

Every sum over examples is taken chunk by chunk, so memory does not grow with n, and divided by the number of
examples at the end, so a ragged last chunk counts by its size. L2 is added outside, on the parameters that
are regularised: all of them, or those that are named.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, jvp, vmap
from torch.nn.functional import cross_entropy

from erm.aligned import aligned, is_aligned
from erm.autograd_curvature import VECTORS_TOGETHER, AutogradCurvature
from erm.first_layer import FirstLayer, first_linear
from erm.module_checks import check_module

HvpMode = Literal["forward_over_reverse", "double_backward"]


@dataclass(frozen=True, kw_only=True)
class AutogradRisk:
    """Mean cross-entropy of a module's logits plus (l2/2)‖θ_reg‖², θ_reg being what is regularised of θ.

    θ holds the parameters flattened one after the other, in the order of `module.parameters()`.

    Args:
        module: maps (m, features) to logits (m, K), each row on its own, and is twice differentiable. The
            risk keeps a copy in evaluation mode (no dropout), in the precision and on the device of `x`.
        x: training features.
        y: training labels, 0 … K − 1.
        l2: on the regularised parameters.
        hvp_mode: "forward_over_reverse" is the derivative of ∇R along v; "double_backward" is ∇⟨∇R, v⟩, as
            in the released code of Koh & Liang. They agree to rounding.
        batch_size: examples of a chunk, which bounds memory.
        regularised: names of the parameters that L2 is on, such as `weights_of` gives; None: all of them.

    Raises:
        ValueError: a setting is outside its range, or the module is none that influence can be computed of:
            see `erm.module_checks`.
    """

    module: nn.Module
    x: Float[Tensor, "n features"]
    y: Int[Tensor, " n"]
    l2: float
    hvp_mode: HvpMode = "forward_over_reverse"
    batch_size: int = 1024
    regularised: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.hvp_mode not in get_args(HvpMode):
            raise ValueError(f"hvp_mode must be one of {', '.join(get_args(HvpMode))}, got {self.hvp_mode!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.l2 < float("inf"):
            raise ValueError(f"l2 must be finite and not negative, got {self.l2}")
        known = [name for name, _ in self.module.named_parameters()]
        if unknown := [name for name in self.regularised or () if name not in known]:
            raise ValueError(f"regularised: there is no parameter {unknown[0]}, only {', '.join(known)}")
        module = copy.deepcopy(self.module).eval().to(device=self.x.device, dtype=self.x.dtype)
        check_module(self.module, module, self.x, self.y)
        self._set(module=module, y=self.y.to(self.x.device))
        if not is_aligned(self.x):
            self._set(x=aligned(self.x, like=self.x))

    @property
    def num_examples(self) -> int:
        return len(self.x)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @cached_property
    def decay(self) -> Float[Tensor, " p"]:
        """l2 for each regularised parameter, 0 for the others: the penalty is ½ Σⱼ decayⱼ θⱼ²."""
        chosen = self.regularised
        parts = [
            torch.full_like(parameter, self.l2 if chosen is None or name in chosen else 0.0).flatten()
            for name, parameter in self.module.named_parameters()
        ]
        return torch.cat(parts).detach()

    def to(self, dtype: torch.dtype) -> "AutogradRisk":
        if dtype == self.x.dtype:
            return self
        module = copy.deepcopy(self.module).to(dtype)
        return self._with(module=module, x=self.x.to(dtype), decay=self.decay.to(dtype))

    def subset(self, indices: Int[Tensor, " b"]) -> "AutogradRisk":
        return self._with(x=self.x[indices], y=self.y[indices])

    def _with(self, **fields: object) -> "AutogradRisk":
        """The same with other fields: of a module that was checked, neither check nor copy is made again."""
        made = copy.copy(self)
        made._set(**fields)
        return made

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def initial_parameters(self) -> Float[Tensor, " p"]:
        """The parameters that the module came with."""
        return self.flatten(dict(self.module.named_parameters()))

    def flatten(self, parameters: dict[str, Tensor]) -> Float[Tensor, " p"]:
        """One vector of parameters given by name, in the module's order."""
        return torch.cat([parameters[name].detach().flatten() for name, _ in self.module.named_parameters()])

    def unflatten(self, theta: Float[Tensor, " p"]) -> dict[str, Tensor]:
        """The inverse of `flatten`: θ in parts, by name."""
        named = dict(self.module.named_parameters())
        parts = torch.split(theta, [parameter.numel() for parameter in named.values()])
        return {
            name: part.reshape(parameter.shape)
            for (name, parameter), part in zip(named.items(), parts, strict=True)
        }

    def logits(self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"]) -> Float[Tensor, "m K"]:
        """What the module answers under θ, differentiable in θ."""
        logits: Tensor = functional_call(self.module, self.unflatten(theta), (x,))
        return logits

    def value(self, theta: Float[Tensor, " p"]) -> Float[Tensor, ""]:
        return self.per_example_losses(theta).mean()

    def gradient(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        return self.value_and_gradient(theta)[1]

    def value_and_gradient(self, theta: Float[Tensor, " p"]) -> tuple[Float[Tensor, ""], Float[Tensor, " p"]]:
        value, gradient = theta.new_zeros(()), torch.zeros_like(theta)
        for x, y in self.own_chunks():
            chunk_gradient, chunk_value = grad_and_value(self._cross_entropy_sum)(theta, x, y)
            value += chunk_value
            gradient += chunk_gradient
        pull = self.decay * theta
        return value / self.num_examples + theta.dot(pull) / 2, gradient / self.num_examples + pull

    def per_example_losses(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        losses = [self._cross_entropies(theta, *chunk) for chunk in self.own_chunks()]
        return torch.cat(losses) + theta.dot(self.decay * theta) / 2

    def per_example_gradient_dot(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, " p"]
    ) -> Float[Tensor, " n"]:
        """d/dε L(zᵢ, θ + εv) at ε = 0, for all examples of a chunk in one forward-mode pass."""
        chunks = [
            jvp(partial(self._cross_entropies, x=x, y=y), (theta,), (v,))[1] for x, y in self.own_chunks()
        ]
        return torch.cat(chunks) + theta.dot(self.decay * v)

    def per_example_gradient_dots(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, "r p"]
    ) -> Float[Tensor, "r n"]:
        return torch.stack([self.per_example_gradient_dot(theta, one) for one in v])

    def losses(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, " m"]:
        return torch.cat([self._cross_entropies(theta, *chunk) for chunk in self.chunks(x, y)])

    def loss_gradient(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, "m p"]:
        def one(x: Float[Tensor, " features"], y: Int[Tensor, ""]) -> Float[Tensor, " p"]:
            gradient: Tensor = grad(self._cross_entropy_sum)(theta, x[None], y[None])
            return gradient

        return torch.cat([vmap(one)(*chunk) for chunk in self.chunks(x, y)])

    def predict(self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"]) -> Int[Tensor, " m"]:
        chunks = torch.split(x, self.batch_size)
        return torch.cat([self.logits(theta, chunk.to(self.x)).argmax(dim=1) for chunk in chunks])

    def curvature(self, theta: Float[Tensor, " p"]) -> AutogradCurvature:
        return AutogradCurvature(self, theta)

    def hvp_sum(
        self,
        theta: Float[Tensor, " p"],
        v: Float[Tensor, " p"],
        x: Float[Tensor, "m features"],
        y: Int[Tensor, " m"],
    ) -> Float[Tensor, " p"]:
        """Σᵢ ∇²CE(zᵢ, θ) v over the given examples, all in one pass: no L2, not divided by m."""
        gradient = grad(partial(self._cross_entropy_sum, x=x, y=y))
        product: Tensor
        if self.hvp_mode == "forward_over_reverse":
            product = jvp(gradient, (theta,), (v,))[1]
        else:
            product = grad(lambda t: gradient(t).dot(v))(theta)
        return product

    def hvp_sums(self, theta: Float[Tensor, " p"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        """Σᵢ ∇²CE(zᵢ, θ) v over the training examples for each of r vectors: no L2, not divided by n."""
        layer, total = self.first_layer(theta), torch.zeros_like(v)
        product, parts = vmap(self.hvp_sum, in_dims=(None, 0, None, None)), vmap(self.unflatten)
        for x, y in self.own_chunks():
            for first in range(0, len(v), VECTORS_TOGETHER):
                some = v[first : first + VECTORS_TOGETHER]
                sums = product(theta, some, x, y) if layer is None else layer.products(parts(some), x, y)
                total[first : first + VECTORS_TOGETHER] += sums
        return total

    def first_layer(self, theta: Float[Tensor, " p"]) -> FirstLayer | None:
        """The network at θ as what follows a linear layer; None where it does not begin with one.

        None also for "double_backward", which is there for its own way of differentiating.
        """
        if self.hvp_mode == "double_backward" or first_linear(self.module) is None:
            return None
        return FirstLayer(self.module, self.unflatten(theta))

    def own_chunks(self) -> Iterator[tuple[Float[Tensor, "b features"], Int[Tensor, " b"]]]:
        """The training examples, at most `batch_size` at a time; views, not copies."""
        return zip(torch.split(self.x, self.batch_size), torch.split(self.y, self.batch_size), strict=True)

    def chunks(
        self, x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Iterator[tuple[Float[Tensor, "b features"], Int[Tensor, " b"]]]:
        """At most `batch_size` examples at a time, in the precision and on the device of the training set."""
        chunks = zip(torch.split(x, self.batch_size), torch.split(y, self.batch_size), strict=True)
        return ((aligned(x, like=self.x), y.to(self.x.device)) for x, y in chunks)

    def _cross_entropies(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, " m"]:
        return cross_entropy(self.logits(theta, x), y, reduction="none")

    def _cross_entropy_sum(
        self, theta: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, ""]:
        return self._cross_entropies(theta, x, y).sum()
