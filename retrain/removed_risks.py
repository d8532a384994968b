"""R and R₋S at the parameters of many models: what is asked of them, and the answer of any empirical risk.

Every answer is a pair, of R and of R₋S, so that what lies between the two risks, (1 − t)·R + t·R₋S, costs
nothing more. Any risk can be asked one model at a time; faster ways are in `retrain/together_risks.py`.

Shape legend: B models, p parameters, n examples.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import EmpiricalRisk
from retrain.removal import Removal

Vectors = Float[Tensor, "B p"]
"""A parameter vector of each model, or a direction."""
SMALL_STEP = 1e-4
"""Of the difference that stands for a third derivative where the risk has no other."""


@dataclass(frozen=True)
class Pair:
    """The same of R and of R₋S, a row for each model."""

    full: Float[Tensor, "B p"]
    without: Float[Tensor, "B p"]

    def between(self, shares: Float[Tensor, " B"]) -> Float[Tensor, "B p"]:
        """Of (1 − t)·R + t·R₋S, with t of each model."""
        return torch.lerp(self.full, self.without, shares[:, None])

    @property
    def difference(self) -> Float[Tensor, "B p"]:
        """Of R₋S − R."""
        return self.without - self.full


@runtime_checkable
class RemovedRisks(Protocol):
    """Derivatives of R and R₋S, L2 inside, mean over the examples that are left, λ unchanged.

    Of order 1 they are gradients; of order 2 and 3 ∇²F v and D³F[v, v, ·], each model with its own v.
    """

    def derivatives(
        self, order: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None = None
    ) -> Pair:
        """Of both risks, by a pass over all examples."""
        ...

    def removed_sums(
        self, order: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None = None
    ) -> Vectors:
        """Σ over S of the cross-entropy's, of order 1 or 2, no L2: by a pass over the removed rows alone."""
        ...


@dataclass(frozen=True)
class SingleRisks:
    """Of any `EmpiricalRisk`: one model at a time, by the risk over the rows that are left.

    A third derivative is a central difference of Hessian products.
    """

    risk: EmpiricalRisk

    def derivatives(
        self, order: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None = None
    ) -> Pair:
        check_arguments(order, 3, thetas, removals, v)
        if order == 3 and v is not None:
            step = SMALL_STEP / v.norm(dim=1, keepdim=True)
            ahead, behind = (self.derivatives(2, thetas + s * v, removals, v) for s in (step, -step))
            full, without = ahead.full - behind.full, ahead.without - behind.without
            return Pair(full / (2 * step), without / (2 * step))
        full, without = torch.empty_like(thetas), torch.empty_like(thetas)
        for place, rows in enumerate(removals):
            along = None if v is None else v[place]
            full[place] = _derivative(self.risk, thetas[place], along)
            without[place] = _derivative(without_rows(self.risk, rows), thetas[place], along)
        return Pair(full, without)

    def removed_sums(
        self, order: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None = None
    ) -> Vectors:
        check_arguments(order, 2, thetas, removals, v)
        penalised, decay = thetas if v is None else v, decay_of(self.risk)
        found = torch.zeros_like(penalised)
        for place, rows in enumerate(removals):
            if rows:
                some = self.risk.subset(torch.tensor(rows, device=thetas.device))
                mean = _derivative(some, thetas[place], None if v is None else v[place])
                found[place] = len(rows) * (mean - decay * penalised[place])
        return found


def check_arguments(
    order: int, highest: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None
) -> None:
    """Raise ValueError unless there is a removal for each model, and a v where the order has one."""
    if not 1 <= order <= highest or (v is None) != (order == 1) or len(removals) != len(thetas):
        along = "without a direction" if v is None else "along a direction"
        raise ValueError(f"order {order} {along}, of {len(thetas)} models and {len(removals)} removals")


def _derivative(
    risk: EmpiricalRisk, theta: Float[Tensor, " p"], v: Float[Tensor, " p"] | None
) -> Float[Tensor, " p"]:
    """∇F, or ∇²F v."""
    return risk.gradient(theta) if v is None else risk.curvature(theta).product(v[None])[0]


def without_rows(risk: EmpiricalRisk, rows: Removal) -> EmpiricalRisk:
    """R₋S as a risk of its own."""
    if not rows:
        return risk
    kept = torch.ones(risk.num_examples, dtype=torch.bool)
    kept[list(rows)] = False
    return risk.subset(torch.nonzero(kept).flatten().to(risk.initial_parameters().device))


def decay_of(risk: EmpiricalRisk) -> Float[Tensor, " p"] | float:
    """What L2 multiplies each parameter by, in a gradient."""
    found: Tensor | float = getattr(risk, "decay", risk.l2)
    return found
