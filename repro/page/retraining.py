"""What the run knows of its retraining: the models of the table, and the records of when they were solved."""

from collections.abc import Iterable
from dataclasses import dataclass

from repro.configuration.compose import Config
from repro.folder.paths import RunFolder
from repro.records.retraining import RetrainingRun, SolverSettings, group_digest, read_runs
from repro.retraining import retrain_settings
from retrain.removal import Removal
from retrain.retrainer import Retrainer, with_null_control


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """The models that the table needs, the null control among them."""

    models: int
    missed: frozenset[Removal]
    """Those above `retrain.tolerance`."""
    amplification: dict[int, float]
    """By what factor leverage makes a removal exceed its first order, by training point."""
    passes_per_model: float
    gradient_norm: float
    """The largest."""
    runs: list[RetrainingRun]
    """The entries of retrain/record.json that belong to this θ̂, oldest first."""
    timed: int
    """Models of the table that these entries account for."""
    others: int
    """Models that they account for and the table does not need."""

    @property
    def seconds(self) -> float | None:
        """What the models took; None unless the records are of these models and of no others."""
        if self.timed < self.models or self.others:
            return None
        return float(sum(run.seconds for run in self.runs))

    @property
    def settings(self) -> list[SolverSettings]:
        """The settings that they were solved with, each once."""
        found: list[SolverSettings] = []
        for run in self.runs:
            if run.settings not in found:
                found.append(run.settings)
        return found


def read_retraining(
    folder: RunFolder, config: Config, key: str, retrainer: Retrainer, removals: Iterable[Removal]
) -> Retraining:
    """Read the weights' own account of themselves, and the records; `key` names θ̂."""
    wanted = set(with_null_control(removals))
    models = retrainer.models(wanted)
    runs = [run for run in read_runs(folder) or [] if run.model_checksum == key]
    solved = {rows for run in runs for rows in run.solved}
    digests = {digest for run in runs for digest in run.groups}
    timed = sum(rows in solved or group_digest(rows) in digests for rows in wanted)
    return Retraining(
        models=len(models),
        missed=frozenset(models.missed(retrain_settings(config).aim)),
        amplification=retrainer.amplification(wanted),
        passes_per_model=int(models.passes.sum()) / max(len(models), 1),
        gradient_norm=models.largest_norm,
        runs=runs,
        timed=timed,
        others=len(solved) + len(digests) - timed,
    )
