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
    """R and R₋S, L2 inside, mean over the examples that are left, λ unchanged."""

    def gradients(self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...]) -> Pair:
        """∇R and ∇R₋S."""
        ...

    def hessian_products(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...], v: Float[Tensor, "B p"]
    ) -> Pair:
        """∇²R v and ∇²R₋S v, each model its own v."""
        ...

    def third_derivatives(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...], v: Float[Tensor, "B p"]
    ) -> Pair:
        """D³R[v, v, ·] and D³R₋S[v, v, ·]."""
        ...

    def removed_hessian_products(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...], v: Float[Tensor, "B p"]
    ) -> Float[Tensor, "B p"]:
        """Σ over S of ∇²CE v, no L2: what a model no longer has; a pass over the removed rows alone."""
        ...

    def removed_gradients(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...]
    ) -> Float[Tensor, "B p"]:
        """Σ over S of ∇CE, no L2, likewise."""
        ...


@dataclass(frozen=True)
class SingleRisks:
    """Of any `EmpiricalRisk`: one model at a time, by the risk over the rows that are left."""

    risk: EmpiricalRisk

    def gradients(self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...]) -> Pair:
        full = [self.risk.gradient(theta) for theta in thetas]
        without = [
            without_rows(self.risk, rows).gradient(theta)
            for theta, rows in zip(thetas, removals, strict=True)
        ]
        return _stacked(full, without, thetas)

    def hessian_products(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...], v: Float[Tensor, "B p"]
    ) -> Pair:
        full, without = [], []
        for theta, rows, one in zip(thetas, removals, v, strict=True):
            full.append(self.risk.curvature(theta).product(one[None])[0])
            without.append(without_rows(self.risk, rows).curvature(theta).product(one[None])[0])
        return _stacked(full, without, thetas)

    def third_derivatives(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...], v: Float[Tensor, "B p"]
    ) -> Pair:
        """By a central difference of Hessian products."""
        step = SMALL_STEP / v.norm(dim=1, keepdim=True)
        ahead = self.hessian_products(thetas + step * v, removals, v)
        behind = self.hessian_products(thetas - step * v, removals, v)
        full, without = ahead.full - behind.full, ahead.without - behind.without
        return Pair(full / (2 * step), without / (2 * step))

    def removed_hessian_products(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...], v: Float[Tensor, "B p"]
    ) -> Float[Tensor, "B p"]:
        found, decay = torch.zeros_like(v), decay_of(self.risk)
        for place, rows in enumerate(removals):
            if rows:
                some = self.risk.subset(torch.tensor(rows, device=thetas.device))
                mean = some.curvature(thetas[place]).product(v[place][None])[0] - decay * v[place]
                found[place] = len(rows) * mean
        return found

    def removed_gradients(
        self, thetas: Float[Tensor, "B p"], removals: tuple[Removal, ...]
    ) -> Float[Tensor, "B p"]:
        found, decay = torch.zeros_like(thetas), decay_of(self.risk)
        for place, rows in enumerate(removals):
            if rows:
                some = self.risk.subset(torch.tensor(rows, device=thetas.device))
                found[place] = len(rows) * (some.gradient(thetas[place]) - decay * thetas[place])
        return found


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


def _stacked(full: list[Tensor], without: list[Tensor], like: Tensor) -> Pair:
    empty = like[:0]
    return Pair(torch.stack(full) if full else empty, torch.stack(without) if without else empty)
