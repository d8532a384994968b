"""How far this rank's share of the work is, and how its models came down, while it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field

from retrain.settings import PassTotal, RetrainingProgress
from retrain.solution import PassReport


@dataclass(kw_only=True)
class Tally:
    """What is counted."""

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
