"""Approximate inverses of H + damping·I that make conjugate gradient need fewer Hessian-vector products.

A preconditioner changes the number of iterations and nothing else: CG still stops on the true residual.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature

Name = Literal["none", "subsample", "kronecker"]
Precondition = Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]]


class PreconditionerError(ValueError):
    """The preconditioner asked for cannot be built for this model; the message says which can."""


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


def check(name: Name, curvature: Curvature) -> None:
    """Raise PreconditionerError unless this curvature can have a preconditioner of this name."""
    if name == "kronecker" and not isinstance(curvature, KroneckerFactored):
        raise PreconditionerError(
            "influence.preconditioner=kronecker: this model has no Kronecker factors; "
            "subsample and none work for every model"
        )


def build(
    name: Name, curvature: Curvature, damping: float, *, subsample_size: int, device: torch.device
) -> Precondition:
    """r ↦ M⁻¹r for an M near H + damping·I.

    Args:
        name: "subsample": M is the Hessian over some random examples, by its Cholesky factor in float32;
            "kronecker": the mean over them of A ⊗ G taken as the product of the means; "none".
        curvature: H.
        damping: added to it.
        subsample_size: random examples that M is made from; all if there are fewer.
        device: where the vectors lie.

    Raises:
        PreconditionerError: as `check`.
    """
    check(name, curvature)
    if name == "none":
        return identity
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(curvature.num_examples, generator=generator)[:subsample_size].to(device)
    some = curvature.subset(rows, torch.float32)
    if name == "kronecker":
        assert isinstance(some, KroneckerFactored)
        return _kronecker(*some.kronecker_factors(), curvature.l2 + damping)
    return _cholesky(some, damping)


def _cholesky(some: Curvature, damping: float) -> Precondition:
    matrix = some.matrix()
    matrix.diagonal().add_(damping)
    factor, failed_at = torch.linalg.cholesky_ex(matrix)
    # Where not even the subsample is definite, H will not be either, and CG has the words for it.
    if int(failed_at):
        return identity

    def apply(r: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        # Scaled, because a small residual's squares underflow in float32.
        scale = r.norm().clamp_min(torch.finfo(r.dtype).tiny)
        solved = torch.cholesky_solve((r / scale).to(factor.dtype)[:, None], factor)[:, 0]
        applied: Tensor = solved.to(r.dtype) * scale
        return applied

    return apply


def _kronecker(a: Float[Tensor, "K K"], g: Float[Tensor, "d d"], shift: float) -> Precondition:
    """(A ⊗ G + shift·I)⁻¹ through the eigenvectors of A and G."""
    a_values, a_vectors = torch.linalg.eigh(a.double())
    g_values, g_vectors = torch.linalg.eigh(g.double())
    spectrum = a_values.clamp_min(0)[:, None] * g_values.clamp_min(0)[None, :] + shift
    if not float(spectrum.min()) > 0:
        return identity

    def apply(r: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        rotated = a_vectors.T @ r.double().reshape(len(a), len(g)) @ g_vectors
        applied: Tensor = (a_vectors @ (rotated / spectrum) @ g_vectors.T).flatten().to(r.dtype)
        return applied

    return apply
