"""How models are retrained, and what is told while they are: settings and progress, all values."""

from dataclasses import dataclass

from retrain.removal import Removal
from retrain.solver import PassReport


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainSettings:
    """How the models of removals are solved.

    Args:
        tolerance: every model is solved to ‖∇R₋S‖₂ ≤ tolerance.
        precision: "mixed" runs the passes that cannot certify in float32, "float64" none.
        batch_size: models solved together; chosen from the free memory when None.
        shard: what the ranks share out, "models" or "data".

    Raises:
        ValueError: a setting is out of range.
    """

    tolerance: float = 1e-9
    precision: str = "mixed"
    batch_size: int | None = None
    shard: str = "models"

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"retrain.tolerance must be > 0, got {self.tolerance}")
        if self.precision not in ("mixed", "float64"):
            raise ValueError(f"retrain.precision must be mixed or float64, got {self.precision!r}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"retrain.batch_size must be at least 1, got {self.batch_size}")
        if self.shard not in ("models", "data"):
            raise ValueError(f"retrain.shard must be models or data, got {self.shard!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainingProgress:
    """Where this rank's share of the work stands."""

    stage: str
    """"Hessian", built and factored; "solving"; "stragglers", the models that a batch left, one by one."""
    models_done: int
    models_total: int
    """0 as long as it is not known."""
    last_pass: PassReport | None = None
    """Of the batch that is being solved; at the end, of the last one."""


PassTotal = tuple[int, float, int]
"""Number of a pass within its batch, the largest gradient norm after it, and how many models took part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SolvedNow:
    """What was solved, and was not there before."""

    removals: tuple[Removal, ...] = ()
    """Over all ranks, ascending."""
    trace: tuple[PassTotal, ...] = ()
    """This rank's passes: the worst over its batches at each number. Stragglers' own passes are not in it."""
