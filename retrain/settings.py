"""How models are retrained, and what is told while they are: settings and progress, all values."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from erm.settings import Count, Positive, Seed, check_settings
from retrain.removal import Removal
from retrain.solution import PassReport

L2Scaling = Literal["mean", "sum"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainSettings:
    """How the models of removals are solved.

    Args:
        precision: "mixed" runs the passes that cannot certify in float32, "float64" none.
        l2_scaling: which L2 the risk of a removal has. "mean" keeps λ, the paper's convention; "sum" keeps
            n·λ, as scikit-learn's C does.
        steps: None solves the models; a number trains on from θ̂ for so many steps without the rows, as the
            paper's CNN panel has it: see `retrain/continued.py`.
        damping: None solves the models of the risk; a number those of the quadratic around θ̃ instead, with so
            much on the diagonal of H: see `retrain/quadratic.py`.

    Raises:
        ValueError: a setting is out of range.
    """

    shard: Annotated[Literal["models", "data"], Field(description="what several processes share out")] = (
        "models"
    )
    tolerance: Annotated[Positive, Field(description="‖∇R₋S‖ that every model is solved to")] = 1e-9
    precision: Annotated[
        Literal["mixed", "float64"], Field(description="mixed: float32 passes where they cannot certify")
    ] = "mixed"
    batch_size: Annotated[int | None, Field(ge=1, description="models together; null: from free memory")] = (
        None
    )

    l2_scaling: Annotated[
        L2Scaling,
        Field(description="mean: a removal keeps λ; sum: it keeps n·λ, so its λ is λ·n/(n − |S|)"),
    ] = "mean"
    steps: Annotated[
        Count | None,
        Field(description="null: solve to the tolerance; else train on so many steps, certifying nothing"),
    ] = None
    order_seed: Annotated[Seed, Field(description="of the order of the examples in those steps")] = 0
    damping: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="null: models of the risk; else of its quadratic around θ̃, with H + damping·I",
        ),
    ] = None

    @property
    def aim(self) -> float:
        """‖∇R₋S‖ that a model must reach: any, where training goes on for a number of steps."""
        return self.tolerance if self.steps is None else math.inf

    def __post_init__(self) -> None:
        check_settings(self, "retrain")


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


@dataclass(kw_only=True)
class Tally:
    """How far this rank's share of the work is, and how its models came down, while it is told."""

    report: Callable[[RetrainingProgress], None]
    total: int
    """Models of this rank."""
    done: int = 0
    trace: dict[int, PassTotal] = field(default_factory=dict)
    last_pass: PassReport | None = None

    def say(self, stage: str, converged: int = 0, last_pass: PassReport | None = None) -> None:
        self.report(
            RetrainingProgress(
                stage=stage,
                models_done=self.done + converged,
                models_total=self.total,
                last_pass=last_pass,
            )
        )

    def note(self, found: PassReport) -> None:
        """Enter a pass into the trace, and tell of it."""
        self.last_pass = found
        _, worst, models = self.trace.get(found.number, (0, 0.0, 0))
        worst = max(worst, found.max_gradient_norm)
        self.trace[found.number] = found.number, worst, models + found.num_models
        self.say("solving", found.num_converged, found)
