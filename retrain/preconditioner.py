"""One Cholesky factor for the models of all removals: without few rows a Hessian is nearly H at θ̂.

The part of a gradient that is common to all classes meets only L2 there, so H⁻¹ divides it by l2. The rest
sums to zero over the classes. With P the projection on such vectors, Δ = P[φ; 0] for some φ of K − 1 classes,
and HΔ = g becomes Mφ = g's first K − 1 classes, with M the same part of PHP = C + l2·P, C the Hessian of the
cross-entropy (which is its own projection). M is a fifth smaller than H at K = 10, so its factor costs a
quarter less.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retrain.problem import RemovalProblem
from retrain.removal import RemovalBatch

KEPT_CURVATURE = 0.998
"""Share of each Hessian block's trace that the factor is built from. Measured on MNIST: it takes 0.6 of the
time of all of it, and not one pass more; 0.99 takes 0.5 and a pass more."""


@dataclass(frozen=True)
class Preconditioner:
    """M⁻¹ through its Cholesky factor."""

    factor: Float[Tensor, "q q"]
    num_classes: int
    l2: float

    def apply(self, gradients: Float[Tensor, "B K d"]) -> Float[Tensor, "B K d"]:
        """H⁻¹g, returned in the precision of the gradients."""
        free, common = self.num_classes - 1, gradients.mean(1, keepdim=True)
        given = (gradients[:, :free] - common).flatten(1).to(self.factor.dtype)
        solved = torch.cholesky_solve(given.T, self.factor).T.to(gradients.dtype)
        by_class = solved.reshape(len(gradients), free, gradients.shape[2])
        total = by_class.sum(1, keepdim=True)
        apart = torch.cat([by_class, torch.zeros_like(total)], dim=1) - total / self.num_classes
        return apart + common / self.l2


@dataclass(frozen=True, kw_only=True)
class KeptHessian:
    """C at θ̂, kept so that a factor for another λ costs no pass over the examples.

    Half of the rows left out at a fixed sum of L2 doubles λ, and most eigenvalues of H are hardly more.
    """

    problem: RemovalProblem
    blocks: Float[Tensor, "q d q d"]

    def factored(self, removals: RemovalBatch) -> Preconditioner:
        """C + λ·P, λ the mean of the models of these removals."""
        l2 = _mean_l2(self.problem, removals)
        found = _factored(self.problem, self.blocks.clone(), l2, shifting=True)
        assert found is not None
        return found


def kept_hessian(problem: RemovalProblem, dtype: torch.dtype) -> KeptHessian:
    """Build C at θ̂, in a precision that factors it at λ, the least of any removal.

    So no batch needs another, and where ranks build C together they all build it once. Arguments as of
    `build_preconditioner`.
    """
    blocks = _mean_hessian(problem, dtype)
    if _factored(problem, blocks.clone(), problem.l2) is None:
        blocks = _mean_hessian(problem, torch.float64)
    return KeptHessian(problem=problem, blocks=blocks)


def build_preconditioner(problem: RemovalProblem, dtype: torch.dtype) -> Preconditioner:
    """Factor H at θ̂.

    Args:
        dtype: precision of the products and the factor. Where float32 cannot factor H, float64 is used, and
            where float64 cannot, a
            shifted H: a preconditioner affects the number of passes, never the solution.
    """
    factor = _factored(problem, _mean_hessian(problem, dtype), problem.l2)
    return build_preconditioner(problem, torch.float64) if factor is None else factor


def refreshed_preconditioner(
    problem: RemovalProblem,
    removals: RemovalBatch,
    differences: Float[Tensor, "b K d"],
    dtype: torch.dtype,
) -> Preconditioner:
    """Factor the mean Hessian of some models, all taken at their mean Δ.

    Args:
        dtype: as of `build_preconditioner`.
    """
    here = problem.here(removals)
    share = here.kept(len(problem.x)).double().mean(dim=1)
    blocks = problem.hessian_sum_at(differences.mean(dim=0), share, dtype, KEPT_CURVATURE)
    blocks.div_(problem.num_examples - float(removals.sizes.mean()))
    factor = _factored(problem, blocks, _mean_l2(problem, removals))
    if factor is None:
        return refreshed_preconditioner(problem, removals, differences, torch.float64)
    return factor


def _mean_hessian(problem: RemovalProblem, dtype: torch.dtype) -> Float[Tensor, "q d q d"]:
    return problem.hessian_sum(dtype, KEPT_CURVATURE).div_(problem.num_examples)


def _mean_l2(problem: RemovalProblem, removals: RemovalBatch) -> float:
    """The mean λ of some models."""
    l2 = problem.l2_of(removals.sizes)
    return l2 if isinstance(l2, float) else float(l2.mean())


def _factored(
    problem: RemovalProblem, blocks: Float[Tensor, "q d q d"], l2: float, *, shifting: bool = False
) -> Preconditioner | None:
    """The factor of C + l2·P from C, P = I − 11ᵀ/K restricted to the first K − 1 classes; C is overwritten.

    None where float32 finds none, and float64 may. `shifting`: it is shifted in any precision.
    """
    size = (problem.num_classes - 1) * problem.num_features
    blocks.diagonal(dim1=1, dim2=3).sub_(l2 / problem.num_classes)
    hessian = blocks.view(size, size)
    hessian.diagonal().add_(l2)
    factor, failed_at = torch.linalg.cholesky_ex(hessian)
    if int(failed_at):
        if hessian.dtype == torch.float32 and not shifting:
            return None
        factor = _factor_of_shifted(hessian)
    return Preconditioner(factor, problem.num_classes, l2)


def _factor_of_shifted(hessian: Float[Tensor, "q q"]) -> Float[Tensor, "q q"]:
    """Its factor with as much added to the diagonal as it takes.

    With l2 > 0 it is positive definite, so what fails is rounding; a shift above that brings it back.
    """
    shift = torch.finfo(hessian.dtype).eps * float(hessian.diagonal().sum())
    while True:
        hessian.diagonal().add_(shift)
        factor: Tensor
        factor, failed_at = torch.linalg.cholesky_ex(hessian)
        if not int(failed_at):
            return factor
        shift *= 10
