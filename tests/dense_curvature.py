"""A Hessian that is given as matrices, so that every solver meets an answer known beforehand."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class DenseCurvature:
    """`Curvature` whose examples have the given Hessians."""

    examples: Float[Tensor, "n p p"]
    convex: bool = False

    @property
    def num_examples(self) -> int:
        return len(self.examples)

    @property
    def l2(self) -> float:
        """The smallest eigenvalue, if it is positive."""
        return max(0.0, float(torch.linalg.eigvalsh(self.matrix())[0]))

    @property
    def num_parameters(self) -> int:
        return self.examples.shape[1]

    @property
    def device(self) -> torch.device:
        return self.examples.device

    @property
    def dtype(self) -> torch.dtype:
        return self.examples.dtype

    def product(self, v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        return v @ self.matrix()

    def batch_product(self, indices: Int[Tensor, "r b"], v: Float[Tensor, "r p"]) -> Float[Tensor, "r p"]:
        return torch.einsum("rbij,rj->ri", self.examples[indices], v) / indices.shape[1]

    def subset(self, indices: Int[Tensor, " b"], dtype: torch.dtype) -> "DenseCurvature":
        return DenseCurvature(self.examples[indices].to(dtype))

    def matrix(self) -> Float[Tensor, "p p"]:
        return self.examples.mean(0)


def with_eigenvalues(eigenvalues: Float[Tensor, " p"], seed: int = 0) -> DenseCurvature:
    """One example whose Hessian has these eigenvalues and random eigenvectors."""
    generator = torch.Generator().manual_seed(seed)
    p = len(eigenvalues)
    q, _ = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=eigenvalues.dtype))
    matrix = (q * eigenvalues) @ q.T
    return DenseCurvature(((matrix + matrix.T) / 2)[None])


def random_vector(p: int, seed: int = 1) -> Float[Tensor, " p"]:
    return torch.randn(p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread(smallest: float, p: int) -> Float[Tensor, " p"]:
    """p eigenvalues from `smallest` to 1, evenly on a logarithmic scale."""
    return smallest ** torch.linspace(1, 0, p, dtype=torch.float64)
