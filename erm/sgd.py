"""Stochastic gradient descent and Adam, as most attempts at the figure train: a fixed number of steps.

They are here to be compared with. Where they end is a matter of steps and learning rate, not of a gradient
norm, so the result says by its gradient norm how far it is from a minimiser.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler

from erm.fit import Fit, Progress
from erm.minibatches import passes_of
from erm.risk import EmpiricalRisk
from erm.settings import Count, Positive, Seed, check_settings

CONVERGED = 1e-10
"""Gradient norm from which the result counts as a minimiser after all."""
STEPS_BETWEEN_REPORTS = 50
Optimiser = Literal["sgd", "adam"]
Steps = Annotated[Count, Field(description="parameter updates")]
BatchSize = Annotated[Count, Field(description="examples per step")]
TrainingPrecision = Annotated[Literal["float32", "float64"], Field(description="of the training")]
OrderSeed = Annotated[Seed, Field(description="of the order of the examples")]


def end_of_steps(
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    passes: int,
    trace: dict[int, float],
    moments: Float[Tensor, "2 p"] | None = None,
) -> Fit:
    """θ where a fixed number of steps ended, measured on the whole risk.

    Args:
        trace: gradient norms on the way, of batches, by pass.
    """
    value, gradient = risk.value_and_gradient(theta)
    norm = float(gradient.norm())
    return Fit(
        theta=theta,
        value=float(value),
        gradient_norm=norm,
        converged=norm <= CONVERGED,
        passes=passes,
        trace=tuple((trace | {passes: norm}).items()),
        moments=moments,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class StochasticFit:
    """Settings of a training run of fixed length.

    Args:
        batch_size: examples per step, drawn without replacement within an epoch.
        precision: "float32" or "float64", of the training; the gradient norm is measured in the risk's own.

    Raises:
        ValueError: a setting is out of range.
    """

    optimiser: Annotated[Optimiser, Field(description="how a step follows from a gradient")] = "sgd"
    steps: Steps = 1000
    learning_rate: Annotated[Positive, Field(description="of every step")] = 0.1
    batch_size: BatchSize = 100
    precision: TrainingPrecision = "float32"
    seed: OrderSeed = 0

    def __post_init__(self) -> None:
        check_settings(self, "fit")

    def __call__(
        self,
        risk: EmpiricalRisk,
        progress: Progress | None = None,
        start: Float[Tensor, " p"] | None = None,
    ) -> Fit:
        """Train from `start`, or from the risk's own starting point.

        Args:
            progress: called every `STEPS_BETWEEN_REPORTS` steps.

        Returns:
            θ where the steps ended. Gradient norms on the way, in progress and trace, are those of a batch;
            only the last one in the trace is that of the whole risk.
        """
        initial = risk.initial_parameters() if start is None else start
        working = risk.to(getattr(torch, self.precision))
        theta = torch.nn.Parameter(initial.to(getattr(torch, self.precision)))
        method = torch.optim.SGD if self.optimiser == "sgd" else torch.optim.Adam
        stepper = method([theta], lr=self.learning_rate)
        batches = self._batches(risk.num_examples)
        trace: dict[int, float] = {}
        for step in range(self.steps):
            gradient = working.subset(next(batches)).gradient(theta.detach())
            theta.grad = gradient
            stepper.step()
            if step % STEPS_BETWEEN_REPORTS == 0:
                passes = passes_of(step + 1, self.batch_size, risk.num_examples)
                trace[passes] = float(gradient.norm())
                if progress is not None:
                    progress(passes, trace[passes])
        passes = passes_of(self.steps, self.batch_size, risk.num_examples)
        return end_of_steps(risk, theta.detach().to(initial), passes, trace)

    def _batches(self, num_examples: int) -> Iterator[Int[Tensor, " b"]]:
        generator = torch.Generator().manual_seed(self.seed)
        size = min(self.batch_size, num_examples)
        while True:
            order = RandomSampler(range(num_examples), generator=generator)
            for batch in BatchSampler(order, size, drop_last=False):
                yield torch.tensor(batch)
