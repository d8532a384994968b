"""The exact solver: Cholesky of the explicit Hessian."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from erm.lowest import solved
from erm.risk import Curvature
from erm.settings import check_settings
from influence.counting import CountedCurvature
from influence.solution import (
    Damping,
    Progress,
    Solution,
    Solve,
    Status,
    check_right_hand_side,
    damped_product,
    definiteness_remedy,
    failure,
    relative_norm,
    rounding,
)

INVERSE_ITERATIONS = 3
"""Enough to single out an eigenvalue at rounding, as each multiplies it by the ratio of the others to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    """(H + damping·I)⁻¹v by Cholesky factorisation and one step of iterative refinement.

    Needs memory for one p × p matrix beyond what `Curvature.matrix` needs itself (491 MB at p = 7,840 in
    float64): the matrix is overwritten by its own factor.

    Raises:
        ValueError: damping is negative or not finite.
    """

    damping: Damping = 0.0

    def __post_init__(self) -> None:
        check_settings(self, "influence")

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """Factorise once; every solution then costs four triangular solves and two products."""
        report = progress or (lambda done, total: None)
        report(0, 2)
        matrix = curvature.matrix()
        matrix.diagonal().add_(self.damping)
        report(1, 2)
        factor = factorise_in_place(matrix)
        report(2, 2)
        if isinstance(factor, str):
            remedy = definiteness_remedy(self.damping, convex=curvature.convex)
            return partial(failure, Status.SINGULAR, evidence=factor, remedy=remedy)
        counted = CountedCurvature(counted=curvature)
        product = damped_product(counted, self.damping)

        def solve(v: Float[Tensor, " p"]) -> Solution:
            check_right_hand_side(v)
            taken = counted.num_hvps
            s = solved(factor, v)
            residual = v - product(s)
            refined = s + solved(factor, residual)
            before, after = relative_norm(residual, v), relative_norm(v - product(refined), v)
            return Solution(
                value=refined if after < before else s,
                status=Status.CONVERGED,
                message=f"Cholesky factorisation, relative residual {min(before, after):.1e}",
                relative_residual=min(before, after),
                num_hvps=counted.num_hvps - taken,
                trace=((0, before), (1, after)),
            )

        return solve


def factorise_in_place(matrix: Float[Tensor, "p p"]) -> Float[Tensor, "p p"] | str:
    """The lower Cholesky factor in the memory of `matrix`, or what shows that it is not positive definite.

    The pivots of a singular matrix are rounding of either sign, so the factorisation may well come through.
    Inverse iteration then finds an eigenvalue at rounding. It never finds less than the smallest there is.
    """
    num_rows, norm = len(matrix), float(torch.linalg.vector_norm(matrix))
    # Transposed, the symmetric matrix lies in memory as LAPACK wants it and is factorised without a copy.
    factor = matrix.mT
    failed_at = torch.empty((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(factor, out=(factor, failed_at))
    if failed_at:
        return f"its Cholesky factorisation breaks down at parameter {int(failed_at) - 1} of {num_rows}"
    u = torch.randn(num_rows, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype).to(matrix)
    for _ in range(INVERSE_ITERATIONS):
        u = solved(factor, u / u.norm())
    smallest = 1 / float(u.norm())
    # Written so that NaN is refused too.
    if not smallest > rounding(u) * norm:
        return f"its smallest eigenvalue, about {smallest:.1e}, is rounding beside its norm, {norm:.1e}"
    return factor
