"""What the solvers of a batch work on and return, and what they tell of a pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from retrain.path import Path, inverse_hessian_product
from retrain.preconditioner import Preconditioner
from retrain.problem import Measurement, RemovalProblem
from retrain.removal import RemovalBatch


@dataclass(frozen=True, kw_only=True)
class BatchSolution:
    """The models of one batch, in the order of its removals, as float64 measured them."""

    differences: Float64[Tensor, "B K d"]
    """Δ of each, where `gradient_norms` was measured: in float32 numbers wherever these suffice."""
    gradient_norms: Float64[Tensor, " B"]
    """‖∇R₋S(θ̂ + Δ)‖₂."""
    passes: Int[Tensor, " B"]
    """Passes over the data that each model took part in."""
    tolerance: float

    @property
    def converged(self) -> Bool[Tensor, " B"]:
        return self.gradient_norms <= self.tolerance

    def begin_with(self, found: Measurement) -> Measurement:
        """Enter all models as they were measured before their first step, which is a pass."""
        self.keep_better(torch.arange(len(self.passes), device=self.passes.device), found)
        self.passes.add_(1)
        return found

    def keep_better(self, positions: Int[Tensor, " b"], found: Measurement) -> None:
        """Overwrite the models at these positions where the measurement has the smaller norm."""
        better = found.norms < self.gradient_norms[positions]
        self.differences[positions[better]] = found.differences[better]
        self.gradient_norms[positions[better]] = found.norms[better]


@dataclass(frozen=True, kw_only=True, slots=True)
class PassReport:
    """What one pass did, for progress displays."""

    number: int
    """From 1, within the batch."""
    num_models: int
    """That took part; the others of the batch have converged."""
    num_converged: int
    """Of the batch, after the pass."""
    dtype: torch.dtype
    max_gradient_norm: float
    """As this pass computed it, in its own precision."""
    contraction: float
    """The largest gradient norm of these models after the pass over that before it."""


def pass_report(
    number: int, converged: Bool[Tensor, " B"], dtype: torch.dtype, norms: Tensor, before: Tensor
) -> PassReport:
    """What a pass did: which of the batch have converged, and the norms of those that took part after it and
    before."""
    return PassReport(
        number=number,
        num_models=len(norms),
        num_converged=int(converged.sum()),
        dtype=dtype,
        max_gradient_norm=float(norms.max()),
        contraction=float(norms.max() / before.max()),
    )


@dataclass(kw_only=True)
class Course:
    """A batch on its way."""

    problem: RemovalProblem
    preconditioner: Preconditioner
    removals: RemovalBatch
    path: Path
    solution: BatchSolution
    """Where its models are entered."""
    report: Callable[[PassReport], None]

    def next_step(self) -> Float64[Tensor, "b K d"]:
        return self.problem.broadcast(-inverse_hessian_product(self.path, self.preconditioner.apply))
