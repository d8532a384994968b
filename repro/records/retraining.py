"""retrain/record.json: how long each retraining took, and how its gradient norms came down.

{"runs": [{"model_checksum", "settings", "indices", "models", "seconds", "passes_per_model", "processes",
"device", "trace"}, ...]} has an entry for each time that models were solved, the null control as index -1.
Its trace is [[pass, largest gradient norm, number of models], ...]: the
worst over the batches of rank 0 at each number of a pass, which is enough to see how the iteration converges.

It is written after the weights, so a run that was killed before has no entry. No number of the figure follows
from it: where it is missing or damaged it begins anew.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from repro.folder.manifest import write_json_result
from repro.folder.paths import RunFolder
from repro.printable import printable_strings


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
    indices: list[int]
    models: int
    seconds: float
    processes: int
    trace: list[Annotated[list[float | None], Field(min_length=2)]]


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


def append_run(folder: RunFolder, entry: dict[str, Any] | None) -> None:
    """Add an entry; None where no model had to be solved. The record is there afterwards."""
    runs = read_runs(folder)
    if runs is None or entry is not None:
        added = [] if entry is None else [entry]
        write_json_result(folder, folder.retrain_record, {"runs": [*(runs or []), *added]})
