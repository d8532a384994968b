"""influence/METHOD.csv and METHOD.json: the predictions of a method, and the record that vouches for them.

The table is written first and the record last, with the table's checksum: after a kill in between, or a
fault of the disk, the two do not belong together and are not believed.
"""

import hashlib
import json
from io import BytesIO
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from influence.cg import CG
from influence.exact import Exact
from influence.grad_dot import GradDot
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.solution import is_baseline
from repro.configuration.validation import are_settings
from repro.folder.manifest import write_json_result, write_text_result
from repro.folder.paths import RunFolder
from repro.printable import printable_strings
from repro.records.age import FAILED_SINCE, WRITTEN, now

Step = Annotated[list[float | None], Field(min_length=2)]


class StoredSolution(BaseModel):
    """What a record says of one test point; null is what is not finite, or does not apply."""

    model_config = ConfigDict(strict=True)
    test_index: int
    status: str
    message: str
    seconds: float
    hessian_vector_products: float | None
    trace: list[Step]
    traced: str


class StoredRecord(BaseModel):
    """influence/METHOD.json."""

    model_config = ConfigDict(strict=True, protected_namespaces=())
    method: str
    settings: dict[str, Any]
    model_checksum: str
    test_index: list[int]
    solutions: list[StoredSolution]
    table_checksum: str | None


RECORD_KEYS = ("method", "settings", "model_checksum", "test_index", "solutions", "table_checksum")
SOLVERS = {
    f"{solver.__module__}.{solver.__name__}": solver for solver in (CG, Exact, GradDot, LiSSA, LiSSAAuto)
}
"""The package's own, by what a record calls them."""
COLUMNS = ("test_index", "train_index", "label", "influence", "predicted_change", "predicted_stderr")


def read_record(folder: RunFolder, method: str) -> dict[str, Any] | None:
    """The record, its strings printable; None when it is missing, damaged or not as this tool writes it."""
    if method not in folder.methods():
        return None
    try:
        content = json.loads(folder.influence_record(method).read_text(encoding="utf-8"))
        record: dict[str, Any] = printable_strings({key: content[key] for key in RECORD_KEYS})
        StoredRecord.model_validate(record)
        record["baseline"] = content.get("baseline") is True
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # Files are named by the method, so it must not be another one.
    return record if record["method"] == method and are_settings(record["settings"]) else None


def declared_baseline(record: dict[str, Any]) -> bool:
    """Whether the method of a record is there for comparison alone, as its class declares.

    A class of this package is asked itself, so that a record can neither forget nor pretend it. What another
    class declared stands in the record: nothing that a record names is imported.
    """
    solver = SOLVERS.get(str(record["settings"].get("_target_")))
    return bool(record["baseline"]) if solver is None else is_baseline(solver)


def read_table(folder: RunFolder, record: dict[str, Any]) -> pd.DataFrame | None:
    """The table that the record vouches for; None when it is missing or another."""
    try:
        content = folder.influence_table(record["method"]).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != record["table_checksum"]:
        return None
    return pd.read_csv(BytesIO(content))


def write_predictions(folder: RunFolder, record: dict[str, Any], table: pd.DataFrame) -> None:
    """Write the table, then its record, with the time and the version."""
    text = table.to_csv(index=False)
    write_text_result(folder, folder.influence_table(record["method"]), text)
    write_json_result(
        folder,
        folder.influence_record(record["method"]),
        record | {"table_checksum": hashlib.sha256(text.encode()).hexdigest(), WRITTEN: now()},
    )


def kept_predictions(folder: RunFolder, record: dict[str, Any]) -> dict[str, Any] | None:
    """The record of sound predictions that the method has made before at the same θ̂, if there is one."""
    earlier = read_record(folder, record["method"])
    if earlier is None or earlier["model_checksum"] != record["model_checksum"]:
        return None
    return None if read_table(folder, earlier) is None else earlier


def write_failure(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write the record of a method that failed, and remove its table.

    Sound predictions that it made before are kept, and their record notes the failure.
    """
    path = folder.influence_record(record["method"])
    if kept_predictions(folder, record) is not None:
        failure = now() | {"settings": record["settings"]}
        write_json_result(folder, path, json.loads(path.read_text("utf-8")) | {FAILED_SINCE: failure})
        return
    folder.influence_table(record["method"]).unlink(missing_ok=True)
    write_json_result(folder, path, record | {"table_checksum": None})
