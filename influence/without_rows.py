"""Softmax regression without some training rows, seen from θ̂: its Hessian there, and what a step solves.

    N∇²R₋S(θ̂) = C − C_S + N_λ·I,   C the sum of the examples' Hessians and C_S that of the rows S,
    N∇R₋S(θ̂) = n∇R(θ̂) − Σ_S (pᵢ − yᵢ) ⊗ xᵢ − (nλ − N_λ)·θ̂,   N = n − |S|,

with N_λ = Nλ where a removal keeps λ, and N_λ = nλ where it keeps the sum of L2. What is common to all
classes meets only L2, and no probability sees it: a Newton step takes it to zero. The rest sums to zero over
the classes, so it is solved for in K − 1 of them, as the preconditioner of the retrained models does.

Shape legend: n examples, d features that are ever non-zero, K classes, q = K − 1, t test points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erm.loss_change import loss_change_by_logits
from erm.softmax import SoftmaxCurvature, SoftmaxRisk
from influence.exact import factorise_in_place

PANEL_COLUMNS = 512


class NotDefiniteError(ArithmeticError):
    """A Hessian has no Cholesky factor; the message is the evidence."""


@dataclass(frozen=True, kw_only=True)
class RowRemovals:
    """What the Newton systems of all R₋S share. Made by `row_removals`."""

    risk: SoftmaxRisk
    x: Float[Tensor, "n d"]
    probabilities: Float[Tensor, "n K"]
    residuals: Float[Tensor, "n K"]
    """p − y of each example."""
    weights: Float[Tensor, "K d"]
    """θ̂."""
    gradient: Float[Tensor, "K d"]
    """n∇R(θ̂), L2 inside."""
    active: Bool[Tensor, " features"]
    """The features that take part; in the others θ̂ is zero, and so is every step."""
    l2: float
    hessian: Float[Tensor, "q d q d"]
    """C + nλ·I of the first q classes."""

    @property
    def num_examples(self) -> int:
        return len(self.x)

    @property
    def num_classes(self) -> int:
        return self.weights.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """q and d."""
        return self.num_classes - 1, self.x.shape[1]

    @cached_property
    def centred(self) -> Float[Tensor, "q d"]:
        """θ̂ less what is common to all classes, of the first q."""
        found: Tensor = (self.weights - self.weights.mean(0))[:-1]
        return found

    def sum_of_l2(self, size: int, *, scales_l2: bool) -> float:
        """N_λ of a removal of so many rows."""
        return self.l2 * (self.num_examples if scales_l2 else self.num_examples - size)

    def constant(self, sum_of_l2: float) -> Float[Tensor, "q d"]:
        """The part of −N∇R₋S(θ̂) that is no sum over the removed rows, of the first q classes."""
        apart: Tensor = (self.gradient - self.gradient.mean(0))[:-1]
        return (self.num_examples * self.l2 - sum_of_l2) * self.centred - apart

    def inverse(self, *, scales_l2: bool) -> "Inverse":
        """Of C + N_λ·P as a removal of one row has it; P projects on vectors that sum to zero over all K.

        Needs memory for three such matrices (994 MB on MNIST).

        Raises:
            NotDefiniteError: it is singular up to rounding.
        """
        sum_of_l2 = self.sum_of_l2(1, scales_l2=scales_l2)
        size = self.shape[0] * self.shape[1]
        matrix = self.hessian.clone()
        matrix.diagonal(dim1=1, dim2=3).sub_(sum_of_l2 / self.num_classes)
        flat = matrix.view(size, size)
        flat.diagonal().add_(sum_of_l2 - self.num_examples * self.l2)
        factor = factorise_in_place(flat)
        if isinstance(factor, str):
            raise NotDefiniteError(factor)
        return Inverse(matrix=_inverse_of_product(factor), sum_of_l2=sum_of_l2)

    def rows(self, indices: Sequence[int]) -> Int[Tensor, " m"]:
        return torch.tensor(indices, dtype=torch.int64, device=self.x.device)

    def steps(self, moved: Float[Tensor, "B q d"]) -> Float[Tensor, "B p"]:
        """Δ in all features and classes from what solves a system in the first q."""
        last = moved.new_zeros(len(moved), 1, moved.shape[2])
        apart = torch.cat([moved, last], dim=1) - moved.sum(1, keepdim=True) / self.num_classes
        full = moved.new_zeros(len(moved), self.num_classes, len(self.active))
        full[:, :, self.active] = apart - self.weights.mean(0)
        return full.flatten(1)


@dataclass(frozen=True, kw_only=True)
class Inverse:
    """M⁻¹ with M = C + N_λ·P, of the first q classes."""

    matrix: Float[Tensor, "qd qd"]
    sum_of_l2: float
    """N_λ."""

    def times(self, v: Float[Tensor, "B q d"]) -> Float[Tensor, "B q d"]:
        found: Tensor = (v.flatten(1) @ self.matrix).view_as(v)
        return found

    def towards(self, x: Float[Tensor, "t d"]) -> Float[Tensor, "q t q d"]:
        """(eₖ ⊗ x)ᵀM⁻¹ of every class k: what a right-hand side changes in a logit of x."""
        (t, d), size = x.shape, len(self.matrix)
        return (x @ self.matrix.view(size // d, d, size)).view(size // d, t, size // d, d)


@dataclass(frozen=True, kw_only=True)
class LossesAtTest:
    """The losses of t test points, as they change with the logits of the first q classes."""

    x: Float[Tensor, "t d"]
    log_probabilities: Float[Tensor, "t K"]
    labels: Float[Tensor, "t K"]

    @classmethod
    def of(
        cls, removals: RowRemovals, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"]
    ) -> "LossesAtTest":
        """Test examples without bias column, and their labels."""
        x = removals.risk.features(x_test)[:, removals.active]
        labels = torch.nn.functional.one_hot(y_test.to(x.device), removals.num_classes).to(x)
        return cls(x=x, log_probabilities=torch.log_softmax(x @ removals.weights.T, dim=1), labels=labels)

    def changes(self, logits: Float[Tensor, "t B q"]) -> Float[Tensor, "t B"]:
        """ℓ(θ̂ + Δ) − ℓ(θ̂), the last class's logit unchanged."""
        moved = torch.cat([logits, torch.zeros_like(logits[..., :1])], dim=-1)
        return loss_change_by_logits(self.log_probabilities[:, None, :], self.labels[:, None, :], moved)

    def linear_changes(self, logits: Float[Tensor, "t B q"]) -> Float[Tensor, "t B"]:
        """∇ℓ(θ̂)ᵀΔ."""
        slopes = (self.log_probabilities.exp() - self.labels)[:, :-1]
        return torch.einsum("tbk,tk->tb", logits, slopes)


def checked(risk: object) -> SoftmaxRisk:
    """The risk, where Newton steps without rows can be taken on it.

    Raises:
        ValueError: the model is not softmax regression in closed form, or has no L2.
    """
    if not isinstance(risk, SoftmaxRisk):
        raise ValueError("this method takes Newton steps on softmax regression alone. Use model=logistic")
    if risk.l2 <= 0:
        raise ValueError("without L2 the risk without a row may have no minimiser. Set model.l2 > 0")
    return risk


def row_removals(risk: object, theta: Float[Tensor, " p"], curvature: object) -> RowRemovals:
    """Build and keep the Hessian of R at θ̂.

    Args:
        theta: θ̂; the step is exact at any θ.

    Raises:
        ValueError: the model is not softmax regression, or has no L2.
    """
    risk = checked(risk)
    assert isinstance(curvature, SoftmaxCurvature)
    weights = risk.weights(theta)
    active = (risk.x != 0).any(dim=0) | (weights != 0).any(dim=0)
    hessian = curvature.matrix().view(risk.num_classes, len(active), risk.num_classes, len(active))
    return RowRemovals(
        risk=risk,
        x=risk.x[:, active].contiguous(),
        probabilities=curvature.probabilities,
        residuals=curvature.probabilities - risk.labels,
        weights=weights[:, active].contiguous(),
        gradient=risk.num_examples * risk.weights(risk.gradient(theta))[:, active],
        active=active,
        l2=risk.l2,
        hessian=hessian[:-1, active][:, :, :-1][..., active].mul_(risk.num_examples),
    )


def _inverse_of_product(factor: Float[Tensor, "m m"]) -> Float[Tensor, "m m"]:
    """(L Lᵀ)⁻¹ of a lower factor, by panels: `torch.cholesky_inverse` takes three times as long."""
    size = len(factor)
    edges = [(first, min(first + PANEL_COLUMNS, size)) for first in range(0, size, PANEL_COLUMNS)]
    inverse_factor = factor.new_zeros(size, size)
    for first, last in edges:
        identity = torch.eye(size - first, last - first, dtype=factor.dtype, device=factor.device)
        inverse_factor[first:, first:last] = torch.linalg.solve_triangular(
            factor[first:, first:], identity, upper=False
        )
    found = torch.empty_like(inverse_factor)
    for first, last in edges:
        torch.mm(
            inverse_factor[first:, first:last].T, inverse_factor[first:, :last], out=found[first:last, :last]
        )
        found[:first, first:last] = found[first:last, :first].T
    return found
