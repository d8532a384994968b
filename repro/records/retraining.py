"""retrain/record.json: how long each retraining took, and how its gradient norms came down.

{"runs": [{"model_checksum", "settings", "removals", "groups", "models", "seconds", "passes_per_model",
"processes", "device", "trace"}, ...]} has an entry for each time that models were solved. Its removals are
[row] for a single training row and [] for the null control; earlier versions wrote "indices" instead, -1 for
the null control. Groups are named by a digest of their rows, as these are millions of numbers in a study.
Its trace is [[pass, largest gradient norm, number of models], ...]: the worst over the batches of rank 0 at
each number of a pass, which is enough to see how the iteration converges.

It is written after the weights, so a run that was killed before has no entry. No number of the figure follows
from it: where it is missing or damaged it begins anew.
"""

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from repro.folder.manifest import write_json_result
from repro.folder.paths import RunFolder
from repro.printable import printable_strings
from retrain.removal import Removal
from retrain.settings import RetrainSettings


class SolverSettings(BaseModel):
    """What the models were solved with: the keys of `retrain.settings.RetrainSettings`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    tolerance: float
    precision: Literal["mixed", "float64"]
    batch_size: int | None
    shard: Literal["models", "data"]
    l2_scaling: Literal["mean", "sum"] = "mean"
    steps: int | None = None
    damping: float | None = None
    order_seed: int = 0


class RetrainingRun(BaseModel):
    """An entry."""

    model_config = ConfigDict(strict=True, frozen=True, protected_namespaces=())
    model_checksum: str
    settings: SolverSettings
    removals: list[list[int]]
    groups: list[str] = []
    """What `group_digest` makes of each; earlier versions have their rows among the removals."""
    models: int
    seconds: float
    passes_per_model: float | None = None
    processes: int
    device: str = ""
    trace: list[Annotated[list[float | None], Field(min_length=2)]]

    @property
    def solved(self) -> set[Removal]:
        """The removals whose models it accounts for by their rows."""
        return {tuple(rows) for rows in self.removals}


def group_digest(rows: Removal) -> str:
    """A name of a group: 16 digits of the SHA-256 of its rows as int64."""
    return hashlib.sha256(np.array(rows, dtype="<i8").tobytes()).hexdigest()[:16]


def read_runs(folder: RunFolder) -> list[RetrainingRun] | None:
    """The entries, oldest first; None when there is no record that can be read."""
    try:
        content = json.loads(folder.retrain_record.read_text(encoding="utf-8"))
        runs = [_in_present_names(run) for run in printable_strings(list(content["runs"]))]
        return [RetrainingRun.model_validate(run) for run in runs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def models_key(key: str, settings: SolverSettings | RetrainSettings) -> str:
    """Names the models of a θ̂ that these settings ask for: those of another question never pass for them.

    How accurately and in what batches models are solved does not change which they are.
    """
    # Models of another L2 minimise another risk.
    own = key if settings.l2_scaling == "mean" else f"{key} l2_scaling={settings.l2_scaling}"
    if settings.steps is not None:
        own = f"{own} steps={settings.steps} order_seed={settings.order_seed}"
    if settings.damping is not None:
        own = f"{own} quadratic damping={settings.damping!r}"
    return own


def recorded(
    folder: RunFolder, key: str, settings: RetrainSettings, removals: Collection[Removal]
) -> set[Removal]:
    """Those of the removals whose models the record says were solved: of this θ̂, as the settings ask."""
    own = models_key(key, settings)
    runs = [run for run in read_runs(folder) or [] if models_key(run.model_checksum, run.settings) == own]
    solved = {rows for run in runs for rows in run.solved}
    digests = {digest for run in runs for digest in run.groups}
    return {rows for rows in removals if rows in solved or group_digest(rows) in digests}


def append_run(folder: RunFolder, entry: RetrainingRun | None) -> None:
    """Add an entry; None where no model had to be solved. The record is there afterwards."""
    runs = read_runs(folder)
    if runs is None or entry is not None:
        content = [run.model_dump() for run in [*(runs or []), *([] if entry is None else [entry])]]
        write_json_result(folder, folder.retrain_record, {"runs": content})


def _in_present_names(run: dict[str, Any]) -> dict[str, Any]:
    """An entry of an earlier version as those of now: -1 was the null control."""
    if "indices" not in run:
        return run
    if "removals" in run:
        raise ValueError("names its models by `removals`, or by `indices`")
    rest = {key: value for key, value in run.items() if key != "indices"}
    return rest | {"removals": [[] if index == -1 else [index] for index in run["indices"]]}
