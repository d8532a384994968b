"""Methods that predict what a removal changes otherwise than by one s_test: what they take and return.

A solver of s_test (`influence/solution.py`) predicts a group by the sum of its members. These look at the
removal itself.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import Curvature, EmpiricalRisk
from influence.solution import Progress

Rows = Sequence[int]
"""The training rows of a removal."""


@runtime_checkable
class RemovalPredictor(Protocol):
    """Prepared at one θ̂. Raises `NotDefiniteError` where a Hessian is singular up to rounding."""

    @property
    def message(self) -> str:
        """What was done, in a sentence."""
        ...

    def points(self, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"]) -> Float[Tensor, "t n"]:
        """ℓ(z_test, θ̂₋ᵢ) − ℓ(z_test, θ̂) as predicted for every training row i left out alone, λ kept.

        Args:
            x_test: test examples without bias column.
            y_test: their labels.
        """
        ...


@runtime_checkable
class GroupPredictor(RemovalPredictor, Protocol):
    """Predicts groups without naming parameters."""

    def groups(
        self,
        groups: Sequence[Rows],
        x_test: Float[Tensor, "t features"],
        y_test: Int[Tensor, " t"],
        *,
        scales_l2: bool,
    ) -> Float[Tensor, "t B"]:
        """The same for groups of rows; `scales_l2`: whether these keep n·λ instead of λ."""
        ...


@runtime_checkable
class ParameterPredictor(RemovalPredictor, Protocol):
    """Predicts the parameters θ̂ + Δ without a removal, at which a certificate can be computed."""

    def steps(
        self, removals: Sequence[Rows], *, scales_l2: bool, progress: Progress | None = None
    ) -> Float[Tensor, "B p"]:
        """Δ of each removal; `scales_l2`: whether those of several rows keep n·λ instead of λ."""
        ...

    def corrections(
        self,
        steps: Float[Tensor, "B p"],
        gradients: Float[Tensor, "B p"],
        x_test: Float[Tensor, "t features"],
        y_test: Int[Tensor, " t"],
    ) -> Float[Tensor, "t B"]:
        """What a prediction adds to the change of each test loss at θ̂ + Δ; zeros where it is that change.

        Args:
            steps: Δ of each removal.
            gradients: ∇R₋S(θ̂ + Δ) of each, L2 inside.
        """
        ...


@runtime_checkable
class RemovalEstimator(Protocol):
    """A frozen dataclass whose fields are the settings, as of a `Solver`."""

    def check(self, risk: EmpiricalRisk) -> None:
        """Raise ValueError where the method is not for this model, before anything is computed."""
        ...

    def at_fit(
        self,
        risk: EmpiricalRisk,
        theta: Float[Tensor, " p"],
        curvature: Curvature,
        progress: Progress | None = None,
    ) -> RemovalPredictor:
        """Prepare once for one θ̂.

        Raises:
            ValueError: the method is not for this model.
            NotDefiniteError: the Hessian is singular up to rounding.
        """
        ...
