"""Newton steps on the risks without one row each, all from one factor.

Without row i, N∇²R₋ᵢ = M − WᵢDᵢWᵢᵀ with M = C + N_λ·P, Wᵢ = I ⊗ xᵢ and Dᵢ = diag(p) − p pᵀ, all of the
first q = K − 1 classes. By the formula of Woodbury, with Dᵢ = VᵢVᵢᵀ, Vᵢ the first q rows of
diag(√p) − p√pᵀ, the step is

    Δᵢ = M⁻¹Wᵢcᵢ + b,   cᵢ = rᵢ + Vᵢ(I − VᵢᵀQᵢVᵢ)⁻¹Vᵢᵀ(Qᵢrᵢ + Wᵢᵀb),   Qᵢ = WᵢᵀM⁻¹Wᵢ,   r = p − y,

b being M⁻¹ times what all rows have in common. So a point needs its q × q matrix Qᵢ, whose entries are
xᵢᵀ[M⁻¹]ₖₗxᵢ, and no solve: K(K − 1)/2 products for all points together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from influence.without_rows import Inverse, LossesAtTest, NotDefiniteError, RowRemovals

CHUNK_ROWS = 4096
PANEL_COLUMNS = 96


@dataclass(frozen=True, kw_only=True)
class PointSteps:
    """The steps of some training points, in the form that all that is asked of them follows from."""

    removals: RowRemovals
    inverse: Inverse
    """M⁻¹."""
    constant: Float[Tensor, "q d"]
    """b."""
    indices: Int[Tensor, " m"]
    coefficients: Float[Tensor, "m q"]
    """cᵢ of each."""

    def logits(self, test: LossesAtTest) -> Float[Tensor, "t m q"]:
        """What the steps change in the logits of test points, the last class's taken as unchanged."""
        q, towards = self.removals.shape[0], self.inverse.towards(test.x)
        found = torch.empty(len(test.x), len(self.indices), q, dtype=test.x.dtype, device=test.x.device)
        for start in range(0, len(self.indices), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            by_class = torch.einsum("ktld,md->ktml", towards, self.removals.x[self.indices[part]])
            found[:, part] = torch.einsum("ktml,ml->tmk", by_class, self.coefficients[part])
        return found + (test.x @ self.constant.T)[:, None, :]

    def steps(self) -> Float[Tensor, "m p"]:
        """Δ of each point."""
        x = self.removals.x[self.indices]
        given = self.coefficients[:, :, None] * x[:, None, :]
        return self.removals.steps(self.inverse.times(given) + self.constant)


def point_steps(
    removals: RowRemovals,
    inverse: Inverse,
    indices: Int[Tensor, " m"],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> PointSteps:
    """One Newton step from θ̂ for each point left out alone.

    Args:
        inverse: of the L2 that the removals have.
        report: called with the blocks of the Hessian done, and how many there are.

    Raises:
        NotDefiniteError: a Hessian is singular up to rounding.
    """
    constant = inverse.times(removals.constant(inverse.sum_of_l2)[None])[0]
    leverages = _leverages(removals, inverse.matrix, indices, report)
    return PointSteps(
        removals=removals,
        inverse=inverse,
        constant=constant,
        indices=indices,
        coefficients=_coefficients(removals, constant, leverages, indices),
    )


def _leverages(
    removals: RowRemovals,
    inverse: Float[Tensor, "qd qd"],
    indices: Int[Tensor, " m"],
    report: Callable[[int, int], None],
) -> Float[Tensor, "m q q"]:
    """Qᵢ of each point. xᵀBx needs half of B: the lower triangle of B + Bᵀ, its diagonal halved."""
    q, d = removals.shape
    blocks = inverse.view(q, d, q, d)
    x = removals.x if len(indices) == removals.num_examples else removals.x[indices]
    found = x.new_empty(len(x), q, q)
    pairs = [(k, other) for k in range(q) for other in range(k + 1)]
    for done, (k, other) in enumerate(pairs):
        block = blocks[k, :, other]
        lower = (block + block.T).tril()
        lower.diagonal().mul_(0.5)
        for start in range(0, len(x), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            found[rows, k, other] = _quadratic_forms(x[rows], lower)
        found[:, other, k] = found[:, k, other]
        report(done + 1, len(pairs))
    return found


def _quadratic_forms(x: Float[Tensor, "m d"], lower: Float[Tensor, "d d"]) -> Float[Tensor, " m"]:
    """xᵀLx of each row for a lower triangular L, by panels of its columns."""
    total = x.new_zeros(len(x))
    for first in range(0, x.shape[1], PANEL_COLUMNS):
        panel = slice(first, first + PANEL_COLUMNS)
        total += ((x[:, first:] @ lower[first:, panel]) * x[:, panel]).sum(1)
    return total


def _coefficients(
    removals: RowRemovals,
    constant: Float[Tensor, "q d"],
    leverages: Float[Tensor, "m q q"],
    indices: Int[Tensor, " m"],
) -> Float[Tensor, "m q"]:
    """cᵢ of each point."""
    p, r = removals.probabilities[indices], removals.residuals[indices][:, :-1]
    root = p.sqrt()
    v = torch.diag_embed(root)[:, :-1] - p[:, :-1, None] * root[:, None, :]
    moved = (leverages @ r[:, :, None]).squeeze(2) + removals.x[indices] @ constant.T
    middle = -(v.mT @ leverages @ v)
    middle.diagonal(dim1=1, dim2=2).add_(1)
    factors, failed = torch.linalg.cholesky_ex(middle)
    if bool((failed > 0).any()):
        row = int(indices[failed > 0][0])
        raise NotDefiniteError(f"without training row {row} the Hessian is singular up to rounding")
    inner = torch.cholesky_solve(v.mT @ moved[:, :, None], factors)
    return r + (v @ inner).squeeze(2)
