"""The smallest eigenvalue of H and its eigenvector: whether a stationary point is a minimum, and the way out.

Up to `MAX_EXPLICIT` parameters from H itself: if its Cholesky factorisation comes through, H is positive
definite up to rounding, and Lanczos on the inverse finds the eigenvalue; if not, an eigensolver does. Beyond,
from products alone, by Lanczos on λ_max·I − H.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature

MAX_EXPLICIT = 10_000
"""Parameters up to which H is made: 800 MB, and a few hundred products' time."""
TOLERANCE = 1e-6
"""Of Lanczos, as a share of the largest eigenvalue in size of the operator that it is given."""
VECTORS = 50

Product = Callable[[Float[np.ndarray, " p"]], Float[np.ndarray, " p"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lowest:
    """The lower end of the spectrum of H."""

    value: float
    """λ_min, L2 inside."""
    vector: Float[Tensor, " p"]
    """Its eigenvector, of length 1; the sign is of no meaning."""
    resolution: float
    """What the computation can make of a zero: within it the sign of `value` is not known."""
    factor: Float[Tensor, "p p"] | None = None
    """Lower Cholesky factor of H, where H was made and has one."""

    @property
    def is_positive(self) -> bool:
        return self.value > self.resolution

    @property
    def is_negative(self) -> bool:
        return self.value < -self.resolution


def is_explicit(num_parameters: int) -> bool:
    """Whether `lowest` makes H itself, and so has its factor."""
    return num_parameters <= MAX_EXPLICIT


def lowest(curvature: Curvature) -> Lowest:
    """λ_min of H, from H itself or from products with it."""
    if is_explicit(curvature.num_parameters):
        return lowest_of_matrix(curvature.matrix())
    return lowest_by_products(curvature)


def lowest_of_matrix(matrix: Float[Tensor, "p p"]) -> Lowest:
    """λ_min of a symmetric matrix. A computed eigenvalue is off by p·eps·‖H‖ at the most, or about that."""
    size = len(matrix)
    resolution = size * torch.finfo(matrix.dtype).eps * float(torch.linalg.matrix_norm(matrix))
    factor, failed_at = torch.linalg.cholesky_ex(matrix)
    found = None if failed_at else _by_inverse(factor)
    if found is None:
        from scipy.linalg import eigh

        values, vectors = eigh(matrix.cpu().numpy(), subset_by_index=[0, 0])
        found = float(values[0]), torch.from_numpy(vectors[:, 0].copy()).to(matrix)
    value, vector = found
    return Lowest(
        value=value, vector=vector, resolution=resolution, factor=factor if value > resolution else None
    )


def lowest_by_products(curvature: Curvature) -> Lowest:
    """λ_min by Lanczos, to within `TOLERANCE` of the spectrum's width.

    What Lanczos calls the smallest eigenvalue is none below it; that it is the smallest there is holds but
    for starting vectors that have nothing of its eigenvector, which a random one has not.
    """
    product, size, dtype = product_with(curvature), curvature.num_parameters, curvature.dtype
    top, _ = _largest(product, size, dtype)
    below, vector = _largest(lambda v: top * v - product(v), size, dtype)
    return Lowest(
        value=top - below,
        vector=torch.from_numpy(vector).to(curvature.device, curvature.dtype),
        resolution=TOLERANCE * max(abs(top), abs(below)),
    )


def _by_inverse(factor: Float[Tensor, "p p"]) -> tuple[float, Float[Tensor, " p"]] | None:
    """The eigenvalue nearest to 0 and its vector; None where the inverse overflows."""

    def solve(v: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        found: Float[np.ndarray, " p"] = solved(factor, torch.from_numpy(v).to(factor)).cpu().numpy()
        return found

    inverse, vector = _largest(solve, len(factor), factor.dtype)
    if not 0 < inverse < float("inf"):
        return None
    return 1 / inverse, torch.from_numpy(vector).to(factor)


def solved(factor: Float[Tensor, "p p"], v: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    """(L Lᵀ)⁻¹v. `torch.cholesky_solve` would copy the factor for every v."""
    half = torch.linalg.solve_triangular(factor, v[:, None], upper=False)
    found: Tensor = torch.linalg.solve_triangular(factor.mT, half, upper=True)[:, 0]
    return found


def product_with(curvature: Curvature) -> Product:
    """v ↦ H v of numpy's vectors."""

    def product(v: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        image = curvature.product(torch.from_numpy(v).to(curvature.device, curvature.dtype)[None])[0]
        found: Float[np.ndarray, " p"] = image.cpu().numpy()
        return found

    return product


def _largest(product: Product, size: int, dtype: torch.dtype) -> tuple[float, Float[np.ndarray, " p"]]:
    """The largest eigenvalue of a symmetric operator, and its eigenvector."""
    # ARPACK wants fewer eigenvalues than there are.
    if size == 1:
        one = torch.ones(1, dtype=dtype).numpy()
        return float(product(one)[0]), one
    values, vectors = lanczos(product, size, dtype, k=1)
    return float(values[0]), np.ascontiguousarray(vectors[:, 0])


def lanczos(product: Product, size: int, dtype: torch.dtype, **options: Any) -> Any:
    """The largest eigenvalues of a symmetric operator by scipy's `eigsh`, whose options there are."""
    # It takes longer to import than most fits take, and most fits do without.
    from scipy.sparse.linalg import LinearOperator, eigsh

    kind = np.dtype(str(dtype).removeprefix("torch."))
    operator = LinearOperator((size, size), matvec=lambda v: product(v.reshape(-1).copy()), dtype=kind)
    # A start of its own, so that the same H has the same eigenvalue every time.
    start = np.random.default_rng(0).standard_normal(size).astype(kind)
    return eigsh(operator, which="LA", tol=TOLERANCE, ncv=min(size, VECTORS), v0=start, **options)
