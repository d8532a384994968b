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

from cli.manifest import write_json_result, write_text_result
from cli.printable import printable_strings
from cli.run_folder import RunFolder
from cli.validation import are_settings

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
COLUMNS = ("test_index", "train_index", "label", "influence", "predicted_change", "predicted_stderr")


def read_record(folder: RunFolder, method: str) -> dict[str, Any] | None:
    """The record, its strings printable; None when it is missing, damaged or not as this tool writes it."""
    if method not in folder.methods():
        return None
    try:
        content = json.loads(folder.influence_record(method).read_text(encoding="utf-8"))
        record: dict[str, Any] = printable_strings({key: content[key] for key in RECORD_KEYS})
        StoredRecord.model_validate(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    # Files are named by the method, so it must not be another one.
    return record if record["method"] == method and are_settings(record["settings"]) else None


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
    """Write the table, then its record."""
    text = table.to_csv(index=False)
    write_text_result(folder, folder.influence_table(record["method"]), text)
    write_json_result(
        folder,
        folder.influence_record(record["method"]),
        record | {"table_checksum": hashlib.sha256(text.encode()).hexdigest()},
    )


def write_failure(folder: RunFolder, record: dict[str, Any]) -> None:
    """Write the record of a method that failed; a table beside it would be taken for its result."""
    folder.influence_table(record["method"]).unlink(missing_ok=True)
    write_json_result(folder, folder.influence_record(record["method"]), record | {"table_checksum": None})
