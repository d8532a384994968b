"""The retrainer of the paper's third panel: training goes on from θ̂ and its Adam state, without the rows.

Nothing is solved and nothing certified: a model is where so many steps end, whether that is near a minimum or
not. What vouches for it is the null control alone, which trains on with nothing removed: what that changes is
no effect of any point.
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from erm.adam import AdamFit, AdamState, batch_gradients, state_from
from erm.checkpoint import State
from erm.files import write_atomically
from erm.minibatches import Minibatches, passes_of
from retrain.batches import Batch
from retrain.changes import CONTINUED, Changes, TestFeatures, TestLabels
from retrain.local_changes import loss_changes, models_of
from retrain.recheck import Rechecked
from retrain.removal import Removal
from retrain.removed_risks import without_rows
from retrain.retrainer import Retrainer, SolveBatch
from retrain.settings import Tally
from retrain.weight_file import RetrainedWeights

MAX_BATCH, MAX_BATCH_CPU = 101, 26
"""Models side by side at the most: the paper's 100 and the null control, or a quarter of them."""
SAVE_EVERY = 1000
STAGE = "training on"
STREAM = 1
"""Beside the seed: other orders than those that θ̂ was trained in."""
ROUNDING = 1e-10
"""Of a gradient norm that another order of summation makes, relative to it."""


@dataclass(frozen=True, eq=False)
class Training:
    """What has made θ̂, and can go on."""

    fit: AdamFit
    moments: Float[Tensor, "2 p"]
    """Of Adam, where it stopped."""


@dataclass(frozen=True, kw_only=True)
class ContinuedTraining(Retrainer):
    """A `Retrainer` without certificates; its cache also keeps the state of models that are under way.

    It tells no amplification: these are no minima whose first order could be told. No norm certifies
    them.
    """

    training: Training
    """What has made θ̂."""
    stages: ClassVar[tuple[str, str]] = (STAGE, STAGE)

    @property
    def description(self) -> str:
        return (
            f"a model of {self.risk.num_parameters:,} parameters, λ = {self.risk.l2:g}, trained on for "
            f"{self.settings.steps:,} steps of Adam"
        )

    def prepare(self, missing: tuple[Removal, ...]) -> tuple[int, SolveBatch]:
        size = self.settings.batch_size or (MAX_BATCH if self.theta.is_cuda else MAX_BATCH_CPU)
        return size, self._trained_on

    def changes(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal] | None = None
    ) -> Changes:
        """Against θ̂, as the paper's code has them; no certificates."""
        found = {
            rows: change
            for part in self.cache.parts(removals)
            for rows, change in zip(part.removals, self._changes_of(part, x_test, y_test).T, strict=True)
        }
        ordered = tuple(sorted(found))
        columns = [found[rows] for rows in ordered]
        return Changes(
            removals=ordered,
            actual_change=np.stack(columns, axis=1) if columns else np.empty((len(x_test), 0)),
            certificate=None,
            labels=(CONTINUED,) * len(ordered),
        )

    def recheck(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """Gradients and losses at the stored weights; the steps are not taken again."""
        for part in self.cache.parts(removals):
            norms = self._norms(part.removals, models_of(self.theta, part))
            yield Rechecked(
                removals=part.removals,
                gradient_norms=norms,
                as_recorded=np.abs(norms - part.gradient_norms) <= ROUNDING * (1 + norms),
                actual_change=self._changes_of(part, x_test, y_test),
            )

    def _trained_on(self, batch: Batch, tally: Tally) -> RetrainedWeights:
        removals = batch.removals
        state = self._state(removals, tally)
        differences = state.theta.to(self.theta) - self.theta
        steps, n = self.settings.steps or 0, self.risk.num_examples
        return RetrainedWeights(
            removals=removals,
            differences=differences[:, None].cpu().numpy(),
            gradient_norms=self._norms(removals, self.theta + differences),
            distance_bounds=np.full(len(removals), np.inf),
            passes=np.full(len(removals), passes_of(steps, self.training.fit.batch_size, n)),
            tolerances=np.full(len(removals), np.inf),
        )

    def _state(self, removals: tuple[Removal, ...], tally: Tally) -> AdamState:
        """After all steps; what was interrupted goes on from its last thousand, to the same bits."""
        fit, steps = self.training.fit, self.settings.steps or 0
        working = self.risk.to(fit.dtype)
        theta = self.theta.to(fit.dtype).expand(len(removals), -1)
        first, second = (moment.to(theta).expand_as(theta) for moment in self.training.moments)
        saved = self.cache.folder / f".continued-{self._name(removals)}.safetensors"
        state = state_from(_load(saved), theta) or AdamState(theta, first, second, fit.steps)
        batches, rate = self._batches(removals), fit.final_rate(self.risk.num_examples)
        while (step := state.step - fit.steps) < steps:
            rows = torch.stack([own.rows(step) for own in batches]).to(theta.device)
            gradients = batch_gradients(working, state.theta, rows)
            state.advance(gradients, rate)
            if (step + 1) % SAVE_EVERY == 0:
                _save(saved, state.as_tensors())
                # In models' worth of steps.
                tally.say(STAGE, len(removals) * (step + 1) // steps)
        saved.unlink(missing_ok=True)
        return state

    def _batches(self, removals: tuple[Removal, ...]) -> list[Minibatches]:
        """All of one size, so that models go side by side."""
        n, seed = self.risk.num_examples, (self.settings.order_seed, STREAM)
        size = min(self.training.fit.batch_size, n - max(1, max(map(len, removals))))
        return [Minibatches(n, size, seed, rows) for rows in removals]

    def _name(self, removals: tuple[Removal, ...]) -> str:
        return hashlib.sha256(f"{self.cache.key} {removals}".encode()).hexdigest()[:16]

    def _norms(self, removals: tuple[Removal, ...], thetas: Float[Tensor, "B p"]) -> np.ndarray:
        """‖∇R₋S‖ of each, over all that is left."""
        found = [
            float(without_rows(self.risk, rows).gradient(theta).norm())
            for rows, theta in zip(removals, thetas, strict=True)
        ]
        return np.array(found)

    def _changes_of(
        self, part: RetrainedWeights, x_test: TestFeatures, y_test: TestLabels
    ) -> Float[np.ndarray, "t B"]:
        labels = y_test.to(self.theta.device)
        return loss_changes(self.risk, self.theta, models_of(self.theta, part), x_test, labels)


def _load(path: Path) -> State | None:
    try:
        return load_file(path)
    except (SafetensorError, OSError):
        return None


def _save(path: Path, state: State) -> None:
    tensors = {name: part.cpu().contiguous() for name, part in state.items()}
    write_atomically(path, lambda temporary: save_file(tensors, temporary))
