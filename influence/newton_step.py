"""One exact Newton step from θ̂ on the risk without some rows, and the test loss where it leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from erm.risk import Curvature, EmpiricalRisk
from erm.settings import Count, check_settings
from influence.estimator import Rows
from influence.group_steps import group_steps
from influence.point_steps import PointSteps, point_steps
from influence.solution import Progress
from influence.without_rows import Inverse, LossesAtTest, RowRemovals, checked, row_removals


@dataclass(frozen=True, kw_only=True, slots=True)
class NewtonStep:
    """ℓ(z_test, θ̂ + Δ) − ℓ(z_test, θ̂) with Δ = −(∇²R₋S(θ̂))⁻¹∇R₋S(θ̂), corrected where it is certified.

    Single points by Woodbury's formula (`influence/point_steps.py`), groups by preconditioned conjugate
    gradient (`influence/group_steps.py`). Softmax regression with L2.

    Args:
        correction: "adjoint" takes what the step leaves of the gradient, r = ∇R₋S(θ̂ + Δ), to first order off
            a prediction that is certified: less ∇ℓ(z_test, θ̂ + Δ)ᵀH⁻¹r. The certificate has found r anyway.
            "none": the loss at θ̂ + Δ and nothing else.

    Raises:
        ValueError: a setting is outside its range.
    """

    tolerance: Annotated[float, Field(gt=0, lt=1, description="relative residual of a group's step")] = 1e-10
    max_iterations: Annotated[Count, Field(description="iterations for it at the most")] = 1000
    correction: Annotated[
        Literal["none", "adjoint"],
        Field(description="corrects what is certified, to first order, by the gradient that the step leaves"),
    ] = "adjoint"

    def __post_init__(self) -> None:
        check_settings(self, "influence")

    def check(self, risk: EmpiricalRisk) -> None:
        """Raise ValueError where the model is not softmax regression in closed form, or has no L2."""
        checked(risk)

    def at_fit(
        self,
        risk: EmpiricalRisk,
        theta: Float[Tensor, " p"],
        curvature: Curvature,
        progress: Progress | None = None,
    ) -> "NewtonSteps":
        """Factor the Hessian; the points' own parts follow when they are first asked for."""
        removals = row_removals(risk, theta, curvature)
        return NewtonSteps(
            settings=self,
            removals=removals,
            inverse=removals.inverse(scales_l2=False),
            progress=progress or (lambda done, total: None),
        )


@dataclass(frozen=True, kw_only=True)
class NewtonSteps:
    """A `ParameterPredictor`."""

    settings: NewtonStep
    removals: RowRemovals
    inverse: Inverse
    """As of points, which keep λ."""
    progress: Progress
    message: str = "one Newton step on the risk without each point, by Woodbury's formula"

    @cached_property
    def of_points(self) -> PointSteps:
        """Of all training points."""
        everything = torch.arange(self.removals.num_examples, device=self.removals.x.device)
        return point_steps(self.removals, self.inverse, everything, self.progress)

    def points(self, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"]) -> Float[Tensor, "t n"]:
        test = LossesAtTest.of(self.removals, x_test, y_test)
        return test.changes(self.of_points.logits(test))

    def steps(
        self, removals: Sequence[Rows], *, scales_l2: bool, progress: Progress | None = None
    ) -> Float[Tensor, "B p"]:
        if all(len(rows) == 1 for rows in removals) and not scales_l2:
            places = self.removals.rows([row for (row,) in removals])
            return point_steps(self.removals, self.inverse, places).steps()
        return group_steps(
            self.removals,
            self.inverse,
            removals,
            scales_l2=scales_l2,
            tolerance=self.settings.tolerance,
            max_iterations=self.settings.max_iterations,
            report=progress or (lambda done, total: None),
        )

    def corrections(
        self,
        steps: Float[Tensor, "B p"],
        gradients: Float[Tensor, "B p"],
        x_test: Float[Tensor, "t features"],
        y_test: Int[Tensor, " t"],
    ) -> Float[Tensor, "t B"]:
        if self.settings.correction == "none":
            return gradients.new_zeros(len(x_test), len(steps))
        removals = self.removals
        test = LossesAtTest.of(removals, x_test, y_test)
        q, classes = removals.shape[0], (len(steps), removals.num_classes, -1)
        differences, left = (
            found.view(classes)[:, :, removals.active] for found in (steps, removals.num_examples * gradients)
        )
        # H⁻¹r, as test points see it: H is M but for the L2 of one example of the n.
        moved = torch.einsum("ktld,bld->tbk", self.inverse.towards(test.x), left[:, :q])
        logits = torch.einsum("td,bkd->tbk", test.x, differences)
        probabilities = torch.softmax(test.log_probabilities[:, None, :] + logits, dim=2)
        slopes = (probabilities - test.labels[:, None, :])[:, :, :q]
        return -(slopes * moved).sum(2)
