"""retrain/record.json: how long each retraining took, and how its gradient norms came down.

{"runs": [{"model_checksum", "settings", "removals", "models", "seconds", "passes_per_model", "processes",
"device", "trace"}, ...]} has an entry for each time that models were solved. Its removals are lists of
training rows, [] for the null control; earlier versions wrote "indices" instead, -1 for the null control.
Its trace is [[pass, largest gradient norm, number of models], ...]: the worst over the batches of rank 0 at
each number of a pass, which is enough to see how the iteration converges.

It is written after the weights, so a run that was killed before has no entry. No number of the figure follows
from it: where it is missing or damaged it begins anew.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from repro.folder.manifest import write_json_result
from repro.folder.paths import RunFolder
from repro.printable import printable_strings
from retrain.removal import NOTHING, Removal


class StoredSettings(BaseModel):
    """Of the solver, the keys and values that `repro.configuration.schema.Retrain` has for them."""

    model_config = ConfigDict(strict=True, extra="forbid")
    tolerance: float
    precision: Literal["mixed", "float64"]
    batch_size: int | None
    shard: Literal["models", "data"]


class StoredRun(BaseModel):
    """An entry."""

    model_config = ConfigDict(strict=True, protected_namespaces=())
    model_checksum: str
    settings: StoredSettings
    removals: list[list[int]] | None = None
    indices: list[int] | None = None
    """In place of `removals`, by earlier versions."""
    models: int
    seconds: float
    processes: int
    trace: list[Annotated[list[float | None], Field(min_length=2)]]

    @model_validator(mode="after")
    def _names_its_models(self) -> "StoredRun":
        if (self.removals is None) == (self.indices is None):
            raise ValueError("names its models by `removals`, or by `indices`")
        return self


def read_runs(folder: RunFolder) -> list[dict[str, Any]] | None:
    """The entries, oldest first; None when there is no record that can be read."""
    try:
        content = json.loads(folder.retrain_record.read_text(encoding="utf-8"))
        runs: list[dict[str, Any]] = printable_strings(list(content["runs"]))
        for run in runs:
            StoredRun.model_validate(run)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return runs


def removals_of(run: dict[str, Any]) -> set[Removal]:
    """The removals whose models an entry accounts for."""
    if "removals" in run:
        return {tuple(rows) for rows in run["removals"]}
    return {NOTHING if index == -1 else (index,) for index in run["indices"]}


def append_run(folder: RunFolder, entry: dict[str, Any] | None) -> None:
    """Add an entry; None where no model had to be solved. The record is there afterwards."""
    runs = read_runs(folder)
    if runs is None or entry is not None:
        added = [] if entry is None else [entry]
        write_json_result(folder, folder.retrain_record, {"runs": [*(runs or []), *added]})
