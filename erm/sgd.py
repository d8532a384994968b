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
from erm.risk import EmpiricalRisk
from erm.settings import Count, Positive, Seed, check_settings

CONVERGED = 1e-10
"""Gradient norm from which the result counts as a minimiser after all."""
STEPS_BETWEEN_REPORTS = 50
Optimiser = Literal["sgd", "adam"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StochasticFit:
    """Settings of a training run of fixed length.

    Args:
        optimiser: "sgd" or "adam".
        steps: parameter updates.
        learning_rate: of every step.
        batch_size: examples per step, drawn without replacement within an epoch.
        precision: "float32" or "float64", of the training; the gradient norm is measured in the risk's own.
        seed: of the order of the examples.

    Raises:
        ValueError: a setting is out of range.
    """

    optimiser: Annotated[Optimiser, Field(description="how a step follows from a gradient")] = "sgd"
    steps: Annotated[Count, Field(description="parameter updates")] = 1000
    learning_rate: Annotated[Positive, Field(description="of every step")] = 0.1
    batch_size: Annotated[Count, Field(description="examples per step")] = 100
    precision: Annotated[Literal["float32", "float64"], Field(description="of the training")] = "float32"
    seed: Annotated[Seed, Field(description="of the order of the examples")] = 0

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
            risk: the empirical risk.
            progress: called every `STEPS_BETWEEN_REPORTS` steps.
            start: where to begin.

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
                passes = self._passes(step + 1, risk.num_examples)
                trace[passes] = float(gradient.norm())
                if progress is not None:
                    progress(passes, trace[passes])
        final = theta.detach().to(initial)
        value, gradient = risk.value_and_gradient(final)
        gradient_norm = float(gradient.norm())
        passes = self._passes(self.steps, risk.num_examples)
        return Fit(
            theta=final,
            value=float(value),
            gradient_norm=gradient_norm,
            converged=gradient_norm <= CONVERGED,
            passes=passes,
            trace=tuple((trace | {passes: gradient_norm}).items()),
        )

    def _passes(self, steps: int, num_examples: int) -> int:
        """Passes over the data that so many steps are worth, at least one."""
        return max(1, steps * self.batch_size // num_examples)

    def _batches(self, num_examples: int) -> Iterator[Int[Tensor, " b"]]:
        generator = torch.Generator().manual_seed(self.seed)
        size = min(self.batch_size, num_examples)
        while True:
            order = RandomSampler(range(num_examples), generator=generator)
            for batch in BatchSampler(order, size, drop_last=False):
                yield torch.tensor(batch)
