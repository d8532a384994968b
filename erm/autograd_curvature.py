"""The Hessian of an `AutogradRisk` at one θ."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.func import vmap

from erm.hessian import VECTORS_TOGETHER, Differentiated, hessian_sum


@runtime_checkable
class Regularised(Differentiated, Protocol):
    """What of an `AutogradRisk` its curvature is made of."""

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

    def hvp_sum(
        self,
        theta: Float[Tensor, " p"],
        v: Float[Tensor, " p"],
        x: Float[Tensor, "m features"],
        y: Int[Tensor, " m"],
    ) -> Float[Tensor, " p"]: ...

    def subset(self, indices: Int[Tensor, " b"]) -> "Regularised": ...

    def to(self, dtype: torch.dtype) -> "Regularised": ...


@dataclass(frozen=True)
class AutogradCurvature:
    """The Hessian of an `AutogradRisk` at one θ; every product differentiates anew."""

    risk: Regularised
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
        hvps = vmap(self._hvp_sum, chunk_size=VECTORS_TOGETHER)
        for chunk in torch.split(indices, self.risk.batch_size, dim=1):
            total += hvps(v, self.risk.x[chunk], self.risk.y[chunk])
        return total / indices.shape[1] + self.risk.decay * v

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> "AutogradCurvature":
        return AutogradCurvature(self.risk.subset(indices).to(dtype), self.theta.to(dtype))

    def matrix(self) -> Float[Tensor, "p p"]:
        hessian = hessian_sum(self.risk, self.theta).div_(self.num_examples)
        hessian.diagonal().add_(self.risk.decay)
        return hessian

    def _hvp_sum(
        self, v: Float[Tensor, " p"], x: Float[Tensor, "m features"], y: Int[Tensor, " m"]
    ) -> Float[Tensor, " p"]:
        return self.risk.hvp_sum(self.theta, v, x, y)
