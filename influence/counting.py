"""How many Hessian-vector products an answer took, preparations and checks included."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import Curvature


@dataclass(kw_only=True, slots=True)
class CountedCurvature:
    """A curvature that counts its products. A solver that asks this one alone can leave none out.

    Explicit matrices are no products and are not counted: those of the exact solver and of preconditioners.
    """

    counted: Curvature
    examples: int = 0
    """Examples times vectors that products have gone over so far."""

    @property
    def num_examples(self) -> int:
        return self.counted.num_examples

    @property
    def num_parameters(self) -> int:
        return self.counted.num_parameters

    @property
    def device(self) -> torch.device:
        return self.counted.device

    @property
    def dtype(self) -> torch.dtype:
        return self.counted.dtype

    @property
    def l2(self) -> float:
        return self.counted.l2

    @property
    def convex(self) -> bool:
        return self.counted.convex

    @property
    def num_hvps(self) -> float:
        """Products so far, one over b of the n examples counted as b/n."""
        return self.examples / self.num_examples

    def product(self, v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        self.examples += len(v) * self.num_examples
        return self.counted.product(v)

    def batch_product(self, indices: Int[Tensor, "r b"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        self.examples += indices.numel()
        return self.counted.batch_product(indices, v)

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> Curvature:
        return self.counted.subset(indices, dtype)

    def matrix(self) -> Float[Tensor, "p p"]:
        return self.counted.matrix()
