"""The eigenvalues of H, and which of them can be told from zero.

A computed eigenvalue of a symmetric matrix is off by at most about p·eps·λ_max (Weyl's inequality with the
backward error of the eigensolver and of the sums that made the matrix), and one of Lanczos by what its own
tolerance leaves, which is far more. What lies within that of zero may be positive, zero or negative in truth;
what lies further below is negative curvature.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, eigsh

from erm.risk import Curvature

MAX_EXPLICIT = 10_000
"""Parameters up to which all eigenvalues are computed; beyond, Lanczos finds those at both ends."""
LANCZOS_EIGENVALUES = 10
LANCZOS_TOLERANCE = 1e-6
LANCZOS_VECTORS = 50


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

        An eigenvalue lies within LANCZOS_TOLERANCE·(λ_max − λ_min) of what Lanczos calls the smallest: that
        is the residual at which it stops, for an eigenvalue λ_max − λ_min of λ_max·I − H.
        """
        if self.complete:
            return self.rounding
        return max(self.rounding, LANCZOS_TOLERANCE * (self.largest - self.smallest))

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


def spectrum(curvature: Curvature, dtype: torch.dtype, device: torch.device) -> Spectrum:
    """Eigenvalues of H in the precision that the curvature computes in.

    Args:
        curvature: H at θ̂.
        dtype: its precision, float32 or float64.
        device: where its vectors lie.
    """
    num_parameters, complete = curvature.num_parameters, curvature.num_parameters <= MAX_EXPLICIT
    precision = str(dtype).removeprefix("torch.")
    if complete:
        eigenvalues = torch.linalg.eigvalsh(curvature.matrix()).cpu().numpy()
    else:
        eigenvalues = _both_ends(curvature, dtype, device)
    return Spectrum(
        eigenvalues=np.sort(eigenvalues.astype(np.float64)),
        num_parameters=num_parameters,
        precision=precision,
        complete=complete,
    )


def _both_ends(curvature: Curvature, dtype: torch.dtype, device: torch.device) -> Float[np.ndarray, " m"]:
    """The smallest and the largest few eigenvalues by Lanczos (ARPACK).

    The smallest is λ_max less the largest of λ_max·I − H, to the same absolute accuracy as λ_max: only one is
    asked for, as L2 puts a whole cluster of equal eigenvalues there, which Lanczos cannot count.
    """

    def product(v: np.ndarray) -> np.ndarray:
        image = curvature.product(torch.from_numpy(v.reshape(-1).copy()).to(device, dtype)[None])[0]
        result: np.ndarray = image.cpu().numpy()
        return result

    largest = _largest(product, curvature.num_parameters, dtype, LANCZOS_EIGENVALUES)
    top = float(largest.max())
    below = _largest(lambda v: top * v.reshape(-1) - product(v), curvature.num_parameters, dtype, 1)
    return np.concatenate([top - below, largest])


def _largest(
    product: Callable[[np.ndarray], np.ndarray], size: int, dtype: torch.dtype, count: int
) -> Float[np.ndarray, " count"]:
    operator = LinearOperator((size, size), matvec=product, dtype=np.dtype(str(dtype).removeprefix("torch.")))
    found = eigsh(
        operator,
        k=count,
        which="LA",
        return_eigenvectors=False,
        tol=LANCZOS_TOLERANCE,
        ncv=min(size, LANCZOS_VECTORS),
        # A start of its own, so that the same H has the same spectrum every time.
        v0=np.random.default_rng(0).standard_normal(size).astype(operator.dtype),
    )
    return np.asarray(found, dtype=np.float64)
