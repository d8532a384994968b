"""What retrains: given removals, the models without them, and what these models change.

The rest of the house asks a `Retrainer` and knows no model. `retrain/certified_softmax.py` is one,
`retrain/local_retrainer.py` another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.risk import EmpiricalRisk
from parallel.collectives import all_gather_object
from parallel.group import ALONE, Group
from retrain.batches import Batch, cache_state, gather_weights, own_batches
from retrain.changes import Changes, TestFeatures, TestLabels
from retrain.recheck import Rechecked
from retrain.removal import NOTHING, Removal
from retrain.settings import PassTotal, RetrainingProgress, RetrainSettings, SolvedNow, Tally
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache

SolveBatch = Callable[[Batch, Tally], RetrainedWeights]
"""Finds the models of a batch, and tells the tally how they come down."""


@dataclass(frozen=True, kw_only=True)
class SolvedModels:
    """How far the models of some removals are, ascending by removal."""

    removals: tuple[Removal, ...]
    gradient_norms: Float[np.ndarray, " B"]
    """‖∇R₋S‖ that each has reached."""
    passes: Int[np.ndarray, " B"]
    """Passes over the data that each took."""

    def __len__(self) -> int:
        return len(self.removals)

    def missed(self, tolerance: float) -> tuple[Removal, ...]:
        """Those that are above a tolerance."""
        return tuple(
            rows for rows, norm in zip(self.removals, self.gradient_norms, strict=True) if norm > tolerance
        )

    def passes_of(self, removals: Collection[Removal]) -> int:
        """The passes of some of them."""
        chosen = set(removals)
        return int(sum(took for rows, took in zip(self.removals, self.passes, strict=True) if rows in chosen))

    @property
    def largest_norm(self) -> float:
        """The largest gradient norm; 0 where there is no model."""
        return float(self.gradient_norms.max(initial=0.0))


def solved_models(parts: Iterable[RetrainedWeights]) -> SolvedModels:
    """How far stored models are."""
    known, norms, passes = list[Removal](), list[float](), list[int]()
    for part in parts:
        known += part.removals
        norms += part.gradient_norms.tolist()
        passes += part.passes.tolist()
    order = sorted(range(len(known)), key=known.__getitem__)
    return SolvedModels(
        removals=tuple(known[place] for place in order),
        gradient_norms=np.array([norms[place] for place in order], dtype=np.float64),
        passes=np.array([passes[place] for place in order], dtype=np.int64),
    )


def with_null_control(removals: Iterable[Removal]) -> list[Removal]:
    """Removals and the removal of nothing, ascending, each once."""
    return sorted({*removals, NOTHING})


@dataclass(frozen=True, kw_only=True)
class Retrainer(ABC):
    """Fits the model of one risk without some of its examples, keeps what it found, and answers from that.

    Where removals are asked for, None means all that it has.

    Args:
        risk: the empirical risk over all training examples.
        theta: θ̂, or θ̃ where training stopped short of a minimum.
        cache: where finished models lie.
        settings: how those that are missing are solved.
        group: the ranks that share the work of `solve`; what else is asked, the first one answers.
    """

    risk: EmpiricalRisk
    theta: Float[Tensor, " p"]
    cache: WeightCache
    settings: RetrainSettings
    group: Group = ALONE
    stages: ClassVar[tuple[str, str]] = ("Hessian", "solving")
    """What is said while it prepares, and while it solves."""

    @property
    def shares_examples(self) -> bool:
        """Whether the ranks share out the examples, and all work on the same models."""
        return False

    @property
    @abstractmethod
    def description(self) -> str:
        """The model in words, such as "softmax regression with 7,840 parameters, λ = 0.01"."""

    def solve(self, removals: Iterable[Removal], report: Callable[[RetrainingProgress], None]) -> SolvedNow:
        """Find the models that it does not have, the null control among them, over all ranks.

        Every finished batch is written at once, so a killed run goes on where it was. In the end the first
        rank's cache has all, where machines share no disk too.

        Args:
            removals: what to fit without, the same on every rank; from `removal` or `leave_one_out`.
            report: called as this rank's work goes on.

        Returns:
            The models that all ranks had to solve, and how this rank's came down.

        Raises:
            LeaveOneOutError: they are not determined by this risk and θ̂; the message says why.
        """
        group, sharded, wanted = self.group, self.shares_examples, with_null_control(removals)
        state = cache_state(self.cache, self.settings.aim, group, sharded=sharded)
        missing = tuple(rows for rows in wanted if rows not in state.settled)
        trace: tuple[PassTotal, ...] = ()
        if missing:
            report(RetrainingProgress(stage=self.stages[0], models_done=0, models_total=0))
            fits, solve = self.prepare(missing)
            size = min(all_gather_object(fits, group))
            batches = own_batches(wanted, state, size, ALONE if sharded else group)
            tally = Tally(report=report, total=sum(len(batch.removals) for batch in batches))
            for batch in batches:
                tally.say(self.stages[1])
                solved = solve(batch, tally)
                # Ranks that work on the same models have the same files.
                if group.is_first or not sharded:
                    self.cache.write(solved)
                tally.done += len(batch.removals)
            tally.say(self.stages[1], last_pass=tally.last_pass)
            trace = tuple(tally.trace.values())
        gather_weights(self.cache, group)
        return SolvedNow(removals=missing, trace=trace)

    @abstractmethod
    def prepare(self, missing: tuple[Removal, ...]) -> tuple[int, SolveBatch]:
        """Of the models that are missing: how many fit into a batch, and what solves one.

        What all batches share is made here. It is called once, on every rank and with the same models, as
        ranks may make it together; not where nothing is missing.
        """

    def models(self, removals: Collection[Removal] | None = None) -> SolvedModels:
        """How far its models are; those that it does not have are left out."""
        return solved_models(self.cache.parts(removals))

    @abstractmethod
    def changes(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal] | None = None
    ) -> Changes:
        """Actual changes of the test losses, no L2, of the models that it has."""

    @abstractmethod
    def recheck(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """The same by other formulas, some models at a time, and whether these are as recorded."""

    def amplification(self, removals: Collection[Removal] | None = None) -> dict[int, float]:
        """By what factor leverage makes a removal exceed its first order, by training row.

        Removals of several rows, and all where it is not known, are left out.
        """
        return {}

    def certificate_per_norm(self, x_test: TestFeatures) -> Float[Tensor, " t"]:
        """By how much the certificate of a test example widens per unit of a gradient norm.

        Infinite where no norm narrows it.
        """
        return torch.full((len(x_test),), torch.inf)


class NoRetrainerError(ValueError):
    """No retrainer takes this risk; the message names the remedy."""


class LeaveOneOutError(ValueError):
    """The models of this risk cannot be had, or not certified; the message names the remedy."""
