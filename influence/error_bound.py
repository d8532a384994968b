"""How far s can be from A⁻¹v, proved from its residual v − A s and a lower bound on the eigenvalues of A."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from influence.solution import rounding

MAX_PRODUCTS = 30
"""Products with A that a bound may take; the first ones sharpen it most."""
BELOW = 1 - 1e-6
"""The node of the rule, as a share of the lower bound: below it, lest rounding meet it."""


def relative_error_bound(
    product: Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]],
    s: Float[Tensor, " p"],
    residual: Float[Tensor, " p"],
    smallest: float,
    largest: float,
    enough: float,
) -> float:
    """Bound on ‖s − A⁻¹v‖/‖A⁻¹v‖, infinite where there is none, sharpened until it is at most `enough`.

    The error is A⁻¹r with r the residual, and ‖A⁻¹r‖² = rᵀA⁻²r is an integral of x⁻² over the spectrum of A.
    Gauss and Radau's rule with one node at `smallest`, the others from Lanczos on r, is never below it, since
    the odd derivatives of x⁻² are negative (Golub & Meurant, Matrices, Moments and Quadrature, 2010, chapter
    6). With no product it is ‖r‖/smallest, and each product brings it nearer to ‖A⁻¹r‖. From a bound b on it
    follows ‖A⁻¹v‖ ≥ ‖s‖ − b.

    Args:
        product: u ↦ A u, A symmetric.
        s: an approximate solution of A s = v.
        residual: v − A s.
        smallest: greater than 0, and no eigenvalue of A is below it; where Lanczos finds one that is,
            the bound is infinite.
        largest: about the largest eigenvalue of A: what rounding of A s is in proportion to.
        enough: no further product is taken once the bound is this small.
    """
    length, norm = float(s.norm()), float(residual.norm())
    unseen = rounding(s) * largest * length / smallest
    if norm == 0:
        return _relative(unseen, length) if length else 0.0
    node = BELOW * smallest
    basis, diagonal, off_diagonal = [residual / norm], list[float](), list[float]()
    bound = _relative(norm / node + unseen, length)
    while bound > enough and len(diagonal) < min(MAX_PRODUCTS, len(s)):
        image = product(basis[-1])
        diagonal.append(float(basis[-1].dot(image)))
        # Twice, against all: rounding takes their right angles from vectors of the three-term recurrence.
        for _ in range(2):
            known = torch.stack(basis)
            image = image - known.T @ (known @ image)
        off_diagonal.append(float(image.norm()))
        bound = _relative(norm * _radau(diagonal, off_diagonal, node) + unseen, length)
        if not off_diagonal[-1] > 0 or not math.isfinite(bound):
            break
        basis.append(image / off_diagonal[-1])
    return bound


def _radau(diagonal: list[float], off_diagonal: list[float], node: float) -> float:
    """√(e₁ᵀ T⁻² e₁), T being the Lanczos matrix with a last row that gives it the eigenvalue `node`."""
    size = len(diagonal)
    lanczos = np.diag(diagonal) + np.diag(off_diagonal[:-1], 1) + np.diag(off_diagonal[:-1], -1)
    shifted = lanczos - node * np.eye(size)
    if not np.linalg.eigvalsh(shifted)[0] > 0:
        return math.inf
    extended = np.zeros((size + 1, size + 1))
    extended[:size, :size] = lanczos
    extended[size, size - 1] = extended[size - 1, size] = off_diagonal[-1]
    last = np.zeros(size)
    last[-1] = off_diagonal[-1] ** 2
    extended[size, size] = node + np.linalg.solve(shifted, last)[-1]
    first = np.eye(size + 1)[0]
    return float(np.linalg.norm(np.linalg.solve(extended, first)))


def _relative(distance: float, length: float) -> float:
    # Written so that NaN is no bound.
    return distance / (length - distance) if distance < length else math.inf
