"""Newton steps on the risks without a group of rows each, by conjugate gradient on all of them together.

N∇²R₋S = M − E_S with M = C + N_λ'·P factored once and E_S = C_S + (N_λ' − N_λ)·P, in the first q = K − 1
classes. M preconditions: a group of a few per cent takes from it what makes the condition number 1.1 or so.
With z = M⁻¹r and p = z + βp', Mp = r + βMp' is a recurrence, so an iteration costs one product with M⁻¹ and
one with E_S, which only the rows of the group enter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from influence.without_rows import Inverse, NotDefiniteError, RowRemovals

Group = Sequence[int]
GATHERED_NUMBERS = 32_000_000
"""Features of the rows of all groups that are solved together: 256 MB."""
MOST_GROUPS = 128
"""Solved together: M⁻¹ is read once for all of them."""


@dataclass(frozen=True)
class _Members:
    """The rows of one group."""

    x: Float[Tensor, "k d"]
    probabilities: Float[Tensor, "k q"]

    def hessian_product(self, v: Float[Tensor, "q d"]) -> Float[Tensor, "q d"]:
        """C_S v."""
        weighted = self.probabilities * (self.x @ v.T)
        moved = weighted - self.probabilities * weighted.sum(1, keepdim=True)
        found: Tensor = moved.T @ self.x
        return found


def group_steps(
    removals: RowRemovals,
    inverse: Inverse,
    groups: Sequence[Group],
    *,
    scales_l2: bool,
    tolerance: float = 1e-10,
    max_iterations: int = 1000,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Float[Tensor, "B p"]:
    """One Newton step from θ̂ for each group left out.

    Args:
        inverse: of either L2; it only preconditions.
        scales_l2: whether a removal keeps n·λ instead of λ.
        tolerance: converged when the residual is this share of the right-hand side.
        report: called with the groups done, and how many there are.

    Raises:
        NotDefiniteError: a Hessian is singular up to rounding, or the iteration ended above the tolerance.
    """
    found = []
    for batch in _batches(groups, removals.shape[1]):
        systems = _Systems.of(removals, batch, inverse.sum_of_l2, scales_l2)
        found.append(removals.steps(_solve(systems, inverse, tolerance, max_iterations)))
        report(sum(map(len, found)), len(groups))
    return torch.cat(found)


def _batches(groups: Sequence[Group], num_features: int) -> list[Sequence[Group]]:
    """Groups in their order, as many at once as `GATHERED_NUMBERS` and `MOST_GROUPS` allow, at least one."""
    found: list[list[Group]] = []
    numbers = 0
    for group in groups:
        own = len(group) * num_features
        if not found or len(found[-1]) == MOST_GROUPS or numbers + own > GATHERED_NUMBERS:
            found.append([])
            numbers = 0
        found[-1].append(group)
        numbers += own
    return [*found]


@dataclass(frozen=True, kw_only=True)
class _Systems:
    """(M − E_S) φ = g for the groups of a batch."""

    removals: RowRemovals
    members: list[_Members]
    less_l2: Float[Tensor, "B 1 1"]
    """N_λ' − N_λ."""
    given: Float[Tensor, "B q d"]
    """g."""

    @classmethod
    def of(
        cls, removals: RowRemovals, groups: Sequence[Group], sum_of_l2: float, scales_l2: bool
    ) -> "_Systems":
        members, given, less = [], [], []
        for group in groups:
            rows = removals.rows(group)
            x, own = removals.x[rows], removals.sum_of_l2(len(rows), scales_l2=scales_l2)
            members.append(_Members(x, removals.probabilities[rows][:, :-1]))
            given.append(removals.residuals[rows][:, :-1].T @ x + removals.constant(own))
            less.append(sum_of_l2 - own)
        return cls(
            removals=removals,
            members=members,
            less_l2=removals.x.new_tensor(less)[:, None, None],
            given=torch.stack(given),
        )

    def removed_product(self, v: Float[Tensor, "b q d"], places: Int[Tensor, " b"]) -> Float[Tensor, "b q d"]:
        """E_S v of some of the groups."""
        own = [
            self.members[place].hessian_product(one) for place, one in zip(places.tolist(), v, strict=True)
        ]
        projected = v - v.sum(1, keepdim=True) / self.removals.num_classes
        return torch.stack(own) + self.less_l2[places] * projected


def _solve(
    systems: _Systems, inverse: Inverse, tolerance: float, max_iterations: int
) -> Float[Tensor, "B q d"]:
    """Preconditioned CG, every group with its own steps; those that have converged rest."""
    solution = torch.zeros_like(systems.given)
    places = torch.arange(len(solution), device=solution.device)
    r = systems.given
    norms = _norms(r)
    p = mp = torch.zeros_like(r)
    squared = torch.ones(len(r), dtype=r.dtype, device=r.device)
    for _ in range(max_iterations):
        going = _norms(r) > tolerance * norms[places]
        if not bool(going.any()):
            return solution
        places, r, p, mp, squared = (tensor[going] for tensor in (places, r, p, mp, squared))
        z = inverse.times(r)
        previous, squared = squared, _dots(r, z)
        beta = (squared / previous)[:, None, None]
        p, mp = z + beta * p, r + beta * mp
        image = mp - systems.removed_product(p, places)
        curvature = _dots(p, image)
        _refuse(curvature <= 0, "a direction of no curvature")
        length = (squared / curvature)[:, None, None]
        solution[places] += length * p
        r = r - length * image
    _refuse(_norms(r) > tolerance * norms[places], f"no solution after {max_iterations} iterations")
    return solution


def _refuse(wrong: Bool[Tensor, " b"], evidence: str) -> None:
    if bool(wrong.any()):
        raise NotDefiniteError(f"without one of the groups: {evidence}")


def _dots(a: Float[Tensor, "b q d"], b: Float[Tensor, "b q d"]) -> Float[Tensor, " b"]:
    found: Tensor = (a * b).sum((1, 2))
    return found


def _norms(a: Float[Tensor, "b q d"]) -> Float[Tensor, " b"]:
    found: Tensor = a.flatten(1).norm(dim=1)
    return found
