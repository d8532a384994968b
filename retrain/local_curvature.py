"""What a local certificate needs of a risk at θ: the smallest eigenvalue, and how fast the Hessian changes.

Both are measured, in the coordinates of `retrain/hessian_factor.py`, many models at a time:

- the smallest eigenvalue by Lanczos, with full reorthogonalisation, as Ritz value less its residual. Without
  few rows all but few eigenvalues are near 1, and it is those that stand apart that Lanczos finds first.
- M, the largest |D³F[u, v, w]| over unit u, v, w. D³F is symmetric, so the largest is that of u = v = w
  (Banach, 1938), and v ← D³F[v, v, ·], normalised, climbs to it (the power method of De Lathauwer, De Moor &
  Vandewalle, 2000). At θ̂ it is climbed from many starts; at another model from the best of these and from the
  way that it has come.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

Product = Callable[[Float[Tensor, "B p"]], Float[Tensor, "B p"]]

MOST_LANCZOS = 40
RESIDUAL = 0.05
"""Of the smallest Ritz value at which Lanczos stops, relative to it."""
STARTS, CLIMB = 8, 12
"""Directions from which M is climbed to at θ̂, and steps."""


@dataclass(frozen=True)
class Ends:
    """Both ends of the spectra of B operators, as far as Lanczos has found them."""

    lowest: Float[Tensor, " B"]
    """The smallest Ritz value less its residual."""
    highest: Float[Tensor, " B"]
    """The largest and its residual."""


def spectrum_ends(product: Product, like: Float64[Tensor, "B p"], most: int = MOST_LANCZOS) -> Ends:
    """The ends of B symmetric operators' spectra.

    Args:
        product: applies each operator to its own row.
        like: of the shape, device and precision of what it takes.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(like.shape[1], dtype=torch.float64, generator=generator).to(like)
    basis = [(start / start.norm()).expand_as(like).clone()]
    diagonal, beside = list[Tensor](), list[Tensor]()
    steps = min(most, like.shape[1])
    ends = Ends(torch.full_like(like[:, 0], torch.nan), torch.full_like(like[:, 0], torch.nan))
    for step in range(1, steps + 1):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(1))
        known = torch.stack(basis, dim=1)
        for _ in range(2):
            image = image - torch.einsum("bkp,bk->bp", known, torch.einsum("bkp,bp->bk", known, image))
        norm = image.norm(dim=1)
        ends, settled = _ritz_ends(diagonal, beside, norm)
        if settled and step > 2:
            break
        beside.append(norm)
        basis.append(image / norm.clamp_min(torch.finfo(norm.dtype).tiny)[:, None])
    return ends


def _ritz_ends(diagonal: list[Tensor], beside: list[Tensor], norm: Float[Tensor, " B"]) -> tuple[Ends, bool]:
    """Ritz values at both ends with their residuals, |β s| with s the last entry of the Ritz vector."""
    size = len(diagonal)
    tridiagonal = torch.diag_embed(torch.stack(diagonal, dim=1))
    for place, entry in enumerate(beside):
        tridiagonal[:, place, place + 1] = tridiagonal[:, place + 1, place] = entry
    values, vectors = torch.linalg.eigh(tridiagonal)
    residuals = norm[:, None] * vectors[:, size - 1].abs()
    ends = Ends(values[:, 0] - residuals[:, 0], values[:, -1] + residuals[:, -1])
    return ends, bool((residuals[:, 0] <= RESIDUAL * values[:, 0].abs()).all())


@dataclass(frozen=True)
class Change:
    """How fast Hessians change: M and a direction in which they change so fast."""

    lipschitz: Float[Tensor, " B"]
    directions: Float[Tensor, "B p"]
    """In φ, of length 1."""


def fastest_change(third: Product, starts: Float64[Tensor, "B p"], steps: int) -> Change:
    """Climb to the largest ‖D³F[v, v, ·]‖ from each start.

    Args:
        third: v ↦ D³F[v, v, ·] in φ, each row its own.
        starts: directions, of any length but 0.
    """
    v = starts / starts.norm(dim=1, keepdim=True)
    best = Change(torch.zeros_like(v[:, 0]), v)
    for _ in range(steps):
        image = third(v)
        norms = image.norm(dim=1)
        better = norms > best.lipschitz
        best = Change(
            torch.where(better, norms, best.lipschitz), torch.where(better[:, None], v, best.directions)
        )
        v = torch.where((norms > 0)[:, None], image / norms[:, None], v)
    return best
