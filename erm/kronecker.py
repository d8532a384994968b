"""An approximate inverse of the Hessian, for conjugate gradient: H ≈ A ⊗ G + l2·I, classes times features.

A preconditioner changes the number of iterations and nothing else: who uses it stops on the true residual.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature

Precondition = Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]]
SAMPLE = 5000
"""Random examples that the factors are averaged over; all if there are fewer."""


@runtime_checkable
class KroneckerFactored(Protocol):
    """A curvature whose Hessian has the Kronecker approximation A ⊗ G + l2·I (parameters: class, feature)."""

    @property
    def l2(self) -> float: ...

    def kronecker_factors(self) -> tuple[Float[Tensor, "K K"], Float[Tensor, "d d"]]:
        """A and G, both symmetric positive semi-definite."""
        ...


def identity(r: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    """No preconditioner."""
    return r


@dataclass(frozen=True, eq=False)
class KroneckerInverse:
    """r ↦ (A ⊗ G + shift·I)⁻¹r through the eigenvectors of A and G, in the precision of r."""

    features: Float[Tensor, "d d"]
    """G."""
    a_vectors: Float[Tensor, "K K"]
    g_values: Float[Tensor, " d"]
    g_vectors: Float[Tensor, "d d"]
    spectrum: Float[Tensor, "K d"] = field(repr=False)
    """Eigenvalues of A ⊗ G + shift·I, by the eigenvectors of A and of G."""

    def __call__(self, r: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        rotated = self.a_vectors.T @ r.double().view_as(self.spectrum) @ self.g_vectors
        applied: Tensor = (self.a_vectors @ (rotated / self.spectrum) @ self.g_vectors.T).flatten()
        return applied.to(r.dtype)


def kronecker_inverse(
    curvature: Curvature, damping: float = 0.0, *, sample: int = SAMPLE, before: Precondition | None = None
) -> Precondition:
    """Near (H + damping·I)⁻¹, from the mean over some random examples of A ⊗ G taken as product of the means.

    Args:
        sample: random examples that the means are over.
        before: what this function gave at another θ; where G is the same its eigenvectors are taken from it.

    Returns:
        `identity` where the curvature has no such factors, they overflow, or the inverse does not exist.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(curvature.num_examples, generator=generator)[:sample].to(curvature.device)
    some = curvature.subset(rows, torch.float32)
    if not isinstance(some, KroneckerFactored):
        return identity
    a, g = some.kronecker_factors()
    if not (a.isfinite().all() and g.isfinite().all()):
        return identity
    a_values, a_vectors = torch.linalg.eigh(a.double())
    if isinstance(before, KroneckerInverse) and torch.equal(before.features, g):
        g_values, g_vectors = before.g_values, before.g_vectors
    else:
        g_values, g_vectors = torch.linalg.eigh(g.double())
    spectrum = a_values.clamp_min(0)[:, None] * g_values.clamp_min(0) + (curvature.l2 + damping)
    if not float(spectrum.min()) > 0:
        return identity
    return KroneckerInverse(g, a_vectors, g_values, g_vectors, spectrum)
