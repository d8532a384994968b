"""Who follows the work of an experiment: its results as they come, and how far long work has come."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressReport:
    """How far a piece of long work has come; None for what does not apply or is not known."""

    stage: str
    done: float = 0
    total: float | None = None
    unit: str = "steps"
    """What `done` and `total` count."""
    passes: int | None = None
    """Passes over the data: of the fit so far, or the number of the pass within a batch of models."""
    num_models: int | None = None
    """Models in the pass."""
    gradient_norm: float | None = None
    """After the pass; the largest, if there are several models."""
    contraction: float | None = None
    """That norm over the one before the pass."""

    def words(self) -> str:
        """Stage, passes, gradient norm and contraction."""
        largest = "" if self.num_models is None else "largest "
        over = "" if self.num_models is None else f" over {self.num_models} models"
        parts = [
            self.stage,
            None if self.passes is None else f"pass {self.passes}{over}",
            None if self.gradient_norm is None else f"{largest}gradient norm {self.gradient_norm:.0e}",
            None if self.contraction is None else f"contraction {self.contraction:.2g}",
        ]
        return ", ".join(part for part in parts if part)


Report = Callable[[ProgressReport], None]


def _ignore(report: ProgressReport) -> None:
    """Nobody follows."""


class Listener:
    """Follows in silence. `cli/terminal.py` has the one that prints."""

    def result(self, found: object) -> None:
        """A stage has ended with this."""

    def progress(self, task: str) -> AbstractContextManager[Report]:
        """Long work begins; what the block is given is called now and then until its end."""
        return nullcontext(_ignore)
