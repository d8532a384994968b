"""Adam as the paper's CNN was trained: a falling rate, and moments that are kept, so that training can go on.

Many models can be trained side by side, each on its own examples: that is how those without a point are
trained on, from the state in which θ̂ was left. The shape legend is that of `erm/risk.py`, with B models.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from erm.autograd import AutogradRisk
from erm.checkpoint import Checkpoint, State
from erm.fit import Fit, Progress
from erm.minibatches import Minibatches, passes_of
from erm.risk import EmpiricalRisk
from erm.settings import Count, Positive, check_settings
from erm.sgd import BatchSize, OrderSeed, Steps, TrainingPrecision, end_of_steps

REPORT_EVERY, SAVE_EVERY = 50, 1000
FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8
DECAY, FALLS = 0.1, 2
"""What the rate is multiplied by when it falls, and how often it does."""


@dataclass(eq=False)
class AdamState:
    """B models on their way: parameters and moments, and how many steps brought them here."""

    theta: Float[Tensor, "B p"]
    first: Float[Tensor, "B p"]
    """Running mean of gradients."""
    second: Float[Tensor, "B p"]
    """Running mean of their squares."""
    step: int

    def advance(self, gradients: Float[Tensor, "B p"], rate: float) -> None:
        """A step, as TensorFlow has it: ε is added to the root before the correction of its bias."""
        self.step += 1
        self.first = torch.lerp(gradients, self.first, FIRST)
        self.second = torch.lerp(gradients.square(), self.second, SECOND)
        corrected = rate * math.sqrt(1 - SECOND**self.step) / (1 - FIRST**self.step)
        self.theta = self.theta - corrected * self.first / (self.second.sqrt() + EPSILON)

    def as_tensors(self) -> State:
        step = torch.tensor(self.step)
        return {"theta": self.theta, "first": self.first, "second": self.second, "step": step}


def at_start(theta: Float[Tensor, " p"]) -> AdamState:
    """One model before its first step."""
    return AdamState(theta[None], torch.zeros_like(theta[None]), torch.zeros_like(theta[None]), 0)


def state_from(tensors: State | None, like: Float[Tensor, "B p"]) -> AdamState | None:
    """The state that was stored, if it is one of such models: a file may be anybody's."""
    names = ("theta", "first", "second")
    if tensors is None or not {*names, "step"} <= tensors.keys() or tensors["step"].numel() != 1:
        return None
    if any(tensors[name].shape != like.shape or not tensors[name].isfinite().all() for name in names):
        return None
    theta, first, second = (tensors[name].to(like) for name in names)
    return AdamState(theta, first, second, int(tensors["step"]))


def batch_gradients(
    risk: EmpiricalRisk, thetas: Float[Tensor, "B p"], rows: Int[Tensor, "B b"]
) -> Float[Tensor, "B p"]:
    """∇ of the mean over its own b examples for each of B models, L2 inside.

    All together where they can be, which saves a small network most of its time: `vmap` makes grouped
    convolutions of convolutions.
    """
    if not isinstance(risk, AutogradRisk) or len(thetas) == 1:
        each = [risk.subset(own).gradient(theta) for theta, own in zip(thetas, rows, strict=True)]
        return torch.stack(each)

    def loss(theta: Float[Tensor, " p"], x: Float[Tensor, "b features"], y: Int[Tensor, " b"]) -> Tensor:
        return cross_entropy(risk.logits(theta, x), y)

    found: Tensor = vmap(grad(loss))(thetas, risk.x[rows], risk.y[rows])
    return found + risk.decay * thetas


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamFit:
    """Settings of a training by Adam whose state is kept.

    Args:
        precision: "float32" or "float64", of the training; the gradient norm is measured in the risk's own.

    Raises:
        ValueError: a setting is out of range.
    """

    steps: Steps = 500_000
    learning_rate: Annotated[Positive, Field(description="of a step, before it falls")] = 1e-4
    decay_epochs: Annotated[
        Count, Field(description="epochs after which it falls to a tenth, and after as many again once more")
    ] = 10_000
    batch_size: BatchSize = 500
    precision: TrainingPrecision = "float32"
    seed: OrderSeed = 0

    def __post_init__(self) -> None:
        check_settings(self, "fit")

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = getattr(torch, self.precision)
        return found

    def rate(self, epoch: int) -> float:
        """Of the steps of epoch 0, 1, …"""
        return self.learning_rate * DECAY ** min(FALLS, epoch // self.decay_epochs)

    def final_rate(self, num_examples: int) -> float:
        """Of the last step: training that goes on keeps it, as in the released code."""
        return self.rate((self.steps - 1) // Minibatches(num_examples, self.batch_size, ()).per_epoch)

    def __call__(
        self,
        risk: EmpiricalRisk,
        progress: Progress | None = None,
        start: Float[Tensor, " p"] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Fit:
        """Train from `start`, or from the risk's own starting point, or from where an interrupted run stood.

        Returns:
            θ where the steps ended, and the moments there. Norms on the way are those of a batch; only the
            last one in the trace is that of the whole risk.
        """
        initial = (risk.initial_parameters() if start is None else start).to(self.dtype)
        stored = None if checkpoint is None else checkpoint.load()
        state = state_from(stored, initial[None]) or at_start(initial)
        working, n = risk.to(self.dtype), risk.num_examples
        batches = Minibatches(n, self.batch_size, (self.seed,))
        trace = dict[int, float]()
        while state.step < self.steps:
            step = state.step
            gradients = batch_gradients(working, state.theta, batches.rows(step)[None])
            state.advance(gradients, self.rate(step // batches.per_epoch))
            if step % REPORT_EVERY == 0 and progress is not None:
                progress(passes_of(step + 1, self.batch_size, n), float(gradients.norm()))
            if step % SAVE_EVERY == 0:
                trace[passes_of(step + 1, self.batch_size, n)] = float(gradients.norm())
            if checkpoint is not None and state.step % SAVE_EVERY == 0:
                checkpoint.save(state.as_tensors())
        final = state.theta[0].to(risk.initial_parameters())
        moments = torch.stack([state.first[0], state.second[0]])
        return end_of_steps(risk, final, passes_of(self.steps, self.batch_size, n), trace, moments)
