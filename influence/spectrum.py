"""The eigenvalues of H, and which of them can be told from zero.

A computed eigenvalue of a symmetric matrix is off by at most about p·eps·λ_max (Weyl's inequality with the
backward error of the eigensolver and of the sums that made the matrix), and one of Lanczos by what its own
tolerance leaves, which is far more. What lies within that of zero may be positive, zero or negative in truth;
what lies further below is negative curvature.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from erm.lowest import MAX_EXPLICIT, TOLERANCE, Product, lanczos, product_with
from erm.risk import Curvature

ENDS = 10
"""Largest eigenvalues computed where H has more than `MAX_EXPLICIT` parameters, beside one at the other end;
up to that, all are."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Eigenvalues of H at θ̂, L2 inside, in one precision."""

    eigenvalues: Float[np.ndarray, " m"]
    """Ascending; all of them when `complete`, else the smallest and the largest few."""
    num_parameters: int
    precision: str
    """float32 or float64: of H and of the eigensolver."""
    complete: bool

    @property
    def largest(self) -> float:
        return float(self.eigenvalues[-1])

    @property
    def smallest(self) -> float:
        return float(self.eigenvalues[0])

    @property
    def rounding(self) -> float:
        """p·eps·λ_max: what rounding can make of a zero."""
        return self.num_parameters * float(np.finfo(self.precision).eps) * abs(self.largest)

    @property
    def resolution(self) -> float:
        """What the computation can make of a zero: by rounding, and by Lanczos where it found the ends.

        An eigenvalue lies within TOLERANCE·(λ_max − λ_min) of what Lanczos calls the smallest: that
        is the residual at which it stops, for an eigenvalue λ_max − λ_min of λ_max·I − H.
        """
        if self.complete:
            return self.rounding
        return max(self.rounding, TOLERANCE * (self.largest - self.smallest))

    def count(self, low: float, high: float) -> int:
        """Eigenvalues in [low, high)."""
        return int(((self.eigenvalues >= low) & (self.eigenvalues < high)).sum())

    def counts(self) -> dict[str, int]:
        """As computed, signs of rounding errors included, and as far as they can be told from zero."""
        zero = self.resolution
        return {
            "computed < 0": self.count(-np.inf, 0.0),
            "computed = 0": int((self.eigenvalues == 0).sum()),
            "computed in (0, 1)": self.count(np.nextafter(0, 1), 1.0),
            "computed ≥ 1": self.count(1.0, np.inf),
            "negative": self.count(-np.inf, -zero),
            "zero up to rounding": self.count(-zero, zero),
            "positive": self.count(zero, np.inf),
        }


def spectrum(curvature: Curvature) -> Spectrum:
    """Eigenvalues of H in the precision that the curvature computes in, float32 or float64."""
    num_parameters, complete = curvature.num_parameters, curvature.num_parameters <= MAX_EXPLICIT
    if complete:
        eigenvalues = torch.linalg.eigvalsh(curvature.matrix()).cpu().numpy()
    else:
        eigenvalues = _both_ends(curvature)
    return Spectrum(
        eigenvalues=np.sort(eigenvalues.astype(np.float64)),
        num_parameters=num_parameters,
        precision=str(curvature.dtype).removeprefix("torch."),
        complete=complete,
    )


def _both_ends(curvature: Curvature) -> Float[np.ndarray, " m"]:
    """The smallest and the largest few eigenvalues by Lanczos (ARPACK).

    The smallest is λ_max less the largest of λ_max·I − H, to the same absolute accuracy as λ_max: only one is
    asked for, as L2 puts a whole cluster of equal eigenvalues there, which Lanczos cannot count.
    """
    product = product_with(curvature)

    def largest(product: Product, count: int) -> Float[np.ndarray, " count"]:
        size, dtype = curvature.num_parameters, curvature.dtype
        found = lanczos(product, size, dtype, k=count, return_eigenvectors=False)
        return np.asarray(found, dtype=np.float64)

    above = largest(product, ENDS)
    top = float(above.max())
    return np.concatenate([top - largest(lambda v: top * v - product(v), 1), above])
