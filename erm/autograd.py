"""The empirical risk of any `nn.Module`, differentiated by `torch.func`: the general `EmpiricalRisk`.

Every sum over examples is taken chunk by chunk, so memory does not grow with n, and divided by the number of
examples at the end, so a ragged last chunk counts by its size. L2 is added outside, on all parameters.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, jvp, vmap
from torch.nn.functional import cross_entropy, one_hot

from erm.aligned import aligned

HvpMode = Literal["forward_over_reverse", "double_backward"]
VECTORS_TOGETHER = 16
"""Vectors that share one pass over a chunk of examples: most of the speed of more, at bounded memory."""


@dataclass(frozen=True, kw_only=True)
class AutogradRisk:
    """Mean cross-entropy of a module's logits plus (l2/2)‖θ‖².

    θ holds the parameters flattened one after the other, in the order of `module.parameters()`.

    Args:
        module: maps (m, features) to logits (m, K), each row on its own. The risk keeps a copy in evaluation
            mode (no dropout), in the precision and on the device of `x`.
        x: training features.
        y: training labels, 0 … K − 1.
        l2: on all parameters, biases included.
        hvp_mode: "forward_over_reverse" is the derivative of ∇R along v; "double_backward" is ∇⟨∇R, v⟩, as
            in the released code of Koh & Liang. They agree to rounding.
        batch_size: examples of a chunk, which bounds memory.

    Raises:
        ValueError: a setting is outside its range.
    """

    module: nn.Module
    x: Float[Tensor, "n features"]
    y: Int[Tensor, " n"]
    l2: float
    hvp_mode: HvpMode = "forward_over_reverse"
    batch_size: int = 1024

    def __post_init__(self) -> None:
        if self.hvp_mode not in get_args(HvpMode):
            raise ValueError(f"hvp_mode must be one of {', '.join(get_args(HvpMode))}, got {self.hvp_mode!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.l2 < float("inf"):
            raise ValueError(f"l2 must be finite and not negative, got {self.l2}")
        module = copy.deepcopy(self.module).eval().to(device=self.x.device, dtype=self.x.dtype)
        object.__setattr__(self, "module", module)

    @property
    def num_examples(self) -> int:
        return len(self.x)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def to(self, dtype: torch.dtype) -> "AutogradRisk":
        return replace(self, x=self.x.to(dtype))

    def subset(self, indices: Int[Tensor, " b"]) -> "AutogradRisk":
        return replace(self, x=self.x[indices], y=self.y[indices])

    def initial_parameters(self) -> Float[Tensor, " p"]:
        """The parameters that the module came with."""
        return self.flatten(dict(self.module.named_parameters()))

    def flatten(self, parameters: dict[str, Tensor]) -> Float[Tensor, " p"]:
        """One vector of parameters given by name, in the module's order."""
        names = [name for name, _ in self.module.named_parameters()]
        return torch.cat([parameters[name].detach().flatten() for name in names])

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
        for x, y in self.chunks(self.x, self.y):
            chunk_gradient, chunk_value = grad_and_value(self._cross_entropy_sum)(theta, x, y)
            value += chunk_value
            gradient += chunk_gradient
        regularised = value / self.num_examples + 0.5 * self.l2 * theta.dot(theta)
        return regularised, gradient / self.num_examples + self.l2 * theta

    def per_example_losses(self, theta: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        return self.losses(theta, self.x, self.y) + 0.5 * self.l2 * theta.dot(theta)

    def per_example_gradient_dot(
        self, theta: Float[Tensor, " p"], v: Float[Tensor, " p"]
    ) -> Float[Tensor, " n"]:
        """d/dε L(zᵢ, θ + εv) at ε = 0, for all examples of a chunk in one forward-mode pass."""

        def derivatives(x: Float[Tensor, "m features"], y: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
            tangents: Tensor = jvp(lambda t: self._cross_entropies(t, x, y), (theta,), (v,))[1]
            return tangents

        chunks = [derivatives(*chunk) for chunk in self.chunks(self.x, self.y)]
        return torch.cat(chunks) + self.l2 * theta.dot(v)

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

    def curvature(self, theta: Float[Tensor, " p"]) -> "AutogradCurvature":
        return AutogradCurvature(self, theta)

    def hvp_sum(
        self,
        theta: Float[Tensor, " p"],
        v: Float[Tensor, " p"],
        x: Float[Tensor, "m features"],
        y: Int[Tensor, " m"],
    ) -> Float[Tensor, " p"]:
        """Σᵢ ∇²CE(zᵢ, θ) v over the given examples, all in one pass: no L2, not divided by m."""

        def gradient(t: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
            result: Tensor = grad(self._cross_entropy_sum)(t, x, y)
            return result

        product: Tensor
        if self.hvp_mode == "forward_over_reverse":
            product = jvp(gradient, (theta,), (v,))[1]
        else:
            product = grad(lambda t: gradient(t).dot(v))(theta)
        return product

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


@dataclass(frozen=True)
class AutogradCurvature:
    """The Hessian of an `AutogradRisk` at one θ; every product differentiates anew."""

    risk: AutogradRisk
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
        total = torch.zeros_like(v)
        hvps = vmap(self._hvp_sum, in_dims=(0, None, None), chunk_size=VECTORS_TOGETHER)
        for x, y in self.risk.chunks(self.risk.x, self.risk.y):
            total += hvps(v, x, y)
        return total / self.num_examples + self.risk.l2 * v

    def batch_product(self, indices: Int[Tensor, "r b"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        total = torch.zeros_like(v)
        hvps = vmap(self._hvp_sum, chunk_size=VECTORS_TOGETHER)
        for chunk in torch.split(indices, self.risk.batch_size, dim=1):
            total += hvps(v, self.risk.x[chunk], self.risk.y[chunk])
        return total / indices.shape[1] + self.risk.l2 * v

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> "AutogradCurvature":
        return AutogradCurvature(self.risk.subset(indices).to(dtype), self.theta.to(dtype))

    def matrix(self) -> Float[Tensor, "p p"]:
        num_parameters = self.num_parameters
        hessian = self.theta.new_empty(num_parameters, num_parameters)
        for rows in torch.split(torch.arange(num_parameters, device=self.theta.device), VECTORS_TOGETHER):
            unit_vectors = one_hot(rows, num_parameters).to(self.theta)
            hessian[rows] = self.product(unit_vectors)
        return (hessian + hessian.T).div_(2)

    def _hvp_sum(
        self, v: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, " p"]:
        return self.risk.hvp_sum(self.theta, v, x, y)
