"""Rescaled influence functions: influence with the Hessian without the point, summed over a group.

Rubinstein and Hopkins (2025, "Rescaled Influence Functions: Accurate Data Attribution in High Dimension").
For one point it is the Newton step, linearised in the test loss; for a group the sum of its members'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import Curvature, EmpiricalRisk
from influence.estimator import Rows
from influence.point_steps import PointSteps, point_steps
from influence.solution import Progress
from influence.without_rows import LossesAtTest, RowRemovals, checked, row_removals


@dataclass(frozen=True, kw_only=True, slots=True)
class RescaledInfluence:
    """Σ_S ∇ℓ(z_test, θ̂)ᵀΔᵢ, Δᵢ the Newton step on the risk without zᵢ. Softmax regression with L2."""

    def check(self, risk: EmpiricalRisk) -> None:
        """Raise ValueError where the model is not softmax regression in closed form, or has no L2."""
        checked(risk)

    def at_fit(
        self,
        risk: EmpiricalRisk,
        theta: Float[Tensor, " p"],
        curvature: Curvature,
        progress: Progress | None = None,
    ) -> "RescaledPredictor":
        """Build the Hessian; the rest follows when it is first asked for."""
        removals = row_removals(risk, theta, curvature)
        return RescaledPredictor(removals=removals, progress=progress or (lambda done, total: None))


@dataclass(frozen=True, kw_only=True)
class RescaledPredictor:
    """A `GroupPredictor`."""

    removals: RowRemovals
    progress: Progress
    message: str = "influence with the Hessian without each point, by Woodbury's formula"

    @cached_property
    def of_points(self) -> PointSteps:
        """Of all training points, each keeping λ."""
        return self._of_points(scales_l2=False)

    def points(self, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"]) -> Float[Tensor, "t n"]:
        return self._changes(self.of_points, x_test, y_test)

    def groups(
        self,
        groups: Sequence[Rows],
        x_test: Float[Tensor, "t features"],
        y_test: Int[Tensor, " t"],
        *,
        scales_l2: bool,
    ) -> Float[Tensor, "t B"]:
        # With n·λ kept the members' Hessians and gradients are others.
        steps = self._of_points(scales_l2=True) if scales_l2 else self.of_points
        changes = self._changes(steps, x_test, y_test)
        return torch.stack([changes[:, self.removals.rows(rows)].sum(1) for rows in groups], dim=1)

    def _of_points(self, *, scales_l2: bool) -> PointSteps:
        everything = torch.arange(self.removals.num_examples, device=self.removals.x.device)
        inverse = self.removals.inverse(scales_l2=scales_l2)
        return point_steps(self.removals, inverse, everything, self.progress)

    def _changes(
        self, steps: PointSteps, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"]
    ) -> Float[Tensor, "t n"]:
        test = LossesAtTest.of(self.removals, x_test, y_test)
        return test.linear_changes(steps.logits(test))
