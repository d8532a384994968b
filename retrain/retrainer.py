"""What retrains: given removals, the models without them, and what these models change.

The rest of the house asks a `Retrainer` and knows no model. `retrain/certified_softmax.py` is one,
`retrain/local_retrainer.py` another.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from retrain.changes import Changes
from retrain.recheck import Rechecked
from retrain.removal import NOTHING, Removal
from retrain.settings import RetrainingProgress, SolvedNow
from retrain.weight_file import RetrainedWeights


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


@runtime_checkable
class Retrainer(Protocol):
    """Fits the model of one risk without some of its examples, keeps what it found, and answers from that.

    Where removals are asked for, None means all that it has.
    """

    @property
    def description(self) -> str:
        """The model in words, such as "softmax regression with 7,840 parameters, λ = 0.01"."""
        ...

    def solve(self, removals: Iterable[Removal], report: Callable[[RetrainingProgress], None]) -> SolvedNow:
        """Find the models that it does not have, the null control among them.

        Args:
            removals: what to fit without; from `removal` or `leave_one_out`.
            report: called as the work goes on.
        """
        ...

    def models(self, removals: Collection[Removal] | None = None) -> SolvedModels:
        """How far its models are; those that it does not have are left out."""
        ...

    def changes(
        self,
        x_test: Float[Tensor, "t features"],
        y_test: Int[Tensor, " t"],
        removals: Collection[Removal] | None = None,
    ) -> Changes:
        """Actual changes of the test losses, no L2, of the models that it has.

        Args:
            x_test: test examples without bias column.
            y_test: their labels.
            removals: of which models.
        """
        ...

    def recheck(
        self, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"], removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """The same by other formulas, some models at a time, and whether these are as recorded."""
        ...

    def amplification(self, removals: Collection[Removal] | None = None) -> dict[int, float]:
        """By what factor leverage makes a removal exceed its first order, by training row.

        Removals of several rows, and all where it is not known, are left out.
        """
        ...

    def certificate_per_norm(self, x_test: Float[Tensor, "t features"]) -> Float[Tensor, " t"]:
        """By how much the certificate of a test example widens per unit of a gradient norm."""
        ...


class NoRetrainerError(ValueError):
    """No retrainer takes this risk; the message names the remedy."""
