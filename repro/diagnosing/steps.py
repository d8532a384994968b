"""Where a diagnosis stands: which of its steps it is at, and how far in it, in shares of the whole work."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from repro.listener import ProgressReport, Report
from retrain.settings import RetrainingProgress


@dataclass(slots=True)
class Steps:
    """Steps told as one."""

    tell: Report
    shares: Mapping[str, float]
    """How much of the work each step is, roughly, by name and in order; in any unit."""
    at: str = field(default="", init=False)

    def begin(self, step: str) -> None:
        """The step that begins now: all before it are done."""
        self.at = step
        self.inside(0.0)

    def inside(self, share: float, detail: str = "") -> None:
        """How much of the step is done, from 0 to 1."""
        names = list(self.shares)
        before = sum(self.shares[name] for name in names[: names.index(self.at)])
        done = (before + min(max(share, 0.0), 1.0) * self.shares[self.at]) / sum(self.shares.values())
        stage = f"{self.at}, {detail}" if detail else self.at
        self.tell(ProgressReport(stage=stage, done=round(100 * done, 1), total=100, unit="per cent"))

    def counted(self, done: int, total: int) -> None:
        """The same in numbers, as solvers tell it."""
        self.inside(done / max(total, 1))

    def retraining(self, progress: RetrainingProgress) -> None:
        """The same of models."""
        counted = f"{progress.models_done:,} of {progress.models_total:,}" if progress.models_total else ""
        share = progress.models_done / max(progress.models_total, 1)
        self.inside(share, f"{progress.stage} {counted}".strip())
