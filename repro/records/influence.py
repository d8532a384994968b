"""influence/METHOD.csv and METHOD.json: the predictions of a method, and the record that vouches for them.

The table is written first and the record last, with the table's checksum: after a kill in between, or a
fault of the disk, the two do not belong together and are not believed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from hydra.utils import get_object
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator

from repro.configuration.validation import are_settings, is_shipped
from repro.folder.manifest import write_json_result, write_text_result
from repro.folder.paths import RunFolder
from repro.printable import printable_strings
from repro.version import tool_version

COLUMNS = ("test_index", "train_index", "label", "influence", "predicted_change", "predicted_stderr")


def _or(default: object) -> WrapValidator:
    """An age that cannot be read is this: no result depends on it, and earlier versions wrote none."""

    def read(value: object, validate: Callable[[object], object]) -> object:
        try:
            return validate(value)
        except ValidationError:
            return default

    return WrapValidator(read)


class Written(BaseModel):
    """When something was written, and by which version of this tool; None where that is not recorded."""

    model_config = ConfigDict(strict=True, frozen=True)
    time: Annotated[str | None, _or(None)] = None
    version: Annotated[str | None, _or(None)] = None

    def moment(self) -> str:
        """To the minute, in words."""
        try:
            return f"{datetime.fromisoformat(self.time or ''):%Y-%m-%d %H:%M} UTC"
        except ValueError:
            return "at a time that is not recorded"


class Failure(Written):
    """A later request for the same predictions, which failed."""

    settings: Annotated[dict[str, Any], _or({})] = {}


class SolutionRecord(BaseModel):
    """What a record says of one test point; None is what is not finite, or does not apply."""

    model_config = ConfigDict(strict=True, frozen=True)
    test_index: int
    status: str
    message: str
    seconds: float
    """For this test point, what the method prepared for all of them included."""
    norm: float | None = None
    """‖s_test‖₂."""
    l2_product: float | None = None
    """λ s_testᵀθ̂, the part of s_testᵀ∇L that L2 has: what groups that keep n·λ are predicted without."""
    relative_residual: float | None = None
    hessian_vector_products: float | None
    trace: list[Annotated[list[float | None], Field(min_length=2)]]
    traced: str


class InfluenceRecord(BaseModel):
    """influence/METHOD.json."""

    model_config = ConfigDict(strict=True, frozen=True, protected_namespaces=())
    method: str
    settings: dict[str, Any]
    baseline: bool = False
    predicts_removals: bool = False
    """Whether a group has a prediction of its own, and is no sum of its members."""
    model_checksum: str
    test_index: list[int]
    solutions: list[SolutionRecord]
    table_checksum: str | None
    removals_checksum: str | None = None
    """Of influence/METHOD.parquet."""
    written: Annotated[Written, _or(Written())] = Written()
    failed_since: Annotated[Failure | None, _or(None)] = None

    @property
    def declares_baseline(self) -> bool:
        """Whether the method is there for comparison alone, as its class declares.

        A class of this package is asked itself, so that a record can neither forget nor pretend it. What
        another class declared stands in the record: nothing that a record names is imported.
        """
        from influence.solution import is_baseline

        target = str(self.settings.get("_target_"))
        return is_baseline(get_object(target)) if is_shipped(target) else self.baseline

    @property
    def predicts_groups(self) -> bool:
        """Whether its groups have predictions of their own; a class of this package is asked itself."""
        target = str(self.settings.get("_target_"))
        return hasattr(get_object(target), "at_fit") if is_shipped(target) else self.predicts_removals


def age_in_words(record: InfluenceRecord) -> str:
    """Why predictions are older than what was asked for, or than this version, without the last full stop."""
    method, when, by = record.method, f"made {record.written.moment()}", record.written.version
    sentences = []
    if record.failed_since is not None:
        different = different_settings(record.failed_since.settings, record.settings)
        asked = f" with {' '.join(different)}" if different else ""
        sentences.append(
            f"{method}: these predictions are old, {when}: a later request{asked} failed and left them as "
            "they were"
        )
    if by != tool_version():
        whose = "an earlier version" if by is None else f"version {by}"
        sentences.append(
            f"{method}: these predictions are of {whose} of this tool, {when}; this is {tool_version()}"
        )
    return ". ".join(sentences)


def different_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """influence.KEY=VALUE for each setting of one that is not so in the other."""
    return [f"influence.{key}={value}" for key, value in one.items() if other.get(key) != value]


def now() -> Written:
    """Time and version."""
    return Written(time=datetime.now(UTC).isoformat(timespec="seconds"), version=tool_version())


def read_record(folder: RunFolder, method: str) -> InfluenceRecord | None:
    """The record, its strings printable; None when it is missing, damaged or not as this tool writes it."""
    if method not in folder.methods():
        return None
    try:
        content = printable_strings(json.loads(folder.influence_record(method).read_text(encoding="utf-8")))
        record = InfluenceRecord.model_validate(content | {"baseline": content.get("baseline") is True})
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return None
    # Files are named by the method, so it must not be another one.
    return record if record.method == method and are_settings(record.settings) else None


def read_table(folder: RunFolder, record: InfluenceRecord) -> pd.DataFrame | None:
    """The table that the record vouches for, with `COLUMNS`; None when it is missing or another."""
    content = vouched_for(folder.influence_table(record.method), record.table_checksum)
    return None if content is None else pd.read_csv(content)


def vouched_for(path: Path, checksum: str | None) -> BytesIO | None:
    """The content of a file, if its SHA-256 is the one that a record has."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return BytesIO(content) if hashlib.sha256(content).hexdigest() == checksum else None


def read_predicted(folder: RunFolder, method: str) -> tuple[InfluenceRecord, pd.DataFrame] | None:
    """A method's record and the table that it vouches for; None where one of them cannot be had."""
    record = read_record(folder, method)
    table = None if record is None else read_table(folder, record)
    return None if record is None or table is None else (record, table)


def as_read_back(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Numbers as `read_table` finds them: what they choose must not depend on whether they are written."""
    text = pd.DataFrame({"value": values}).to_csv(index=False)
    found: np.ndarray = pd.read_csv(BytesIO(text.encode()))["value"].to_numpy(dtype=np.float64)
    return found


def write_predictions(folder: RunFolder, record: InfluenceRecord, table: pd.DataFrame) -> InfluenceRecord:
    """Write the table, then its record, with the time and the version; the record as written."""
    text = table.to_csv(index=False)
    write_text_result(folder, folder.influence_table(record.method), text)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    written = record.model_copy(update={"table_checksum": checksum, "written": now()})
    _write(folder, written)
    return written


def kept_predictions(folder: RunFolder, record: InfluenceRecord) -> InfluenceRecord | None:
    """The record of sound predictions that the method has made before at the same θ̂, if there is one."""
    earlier = read_predicted(folder, record.method)
    return earlier[0] if earlier and earlier[0].model_checksum == record.model_checksum else None


def write_failure(folder: RunFolder, record: InfluenceRecord) -> None:
    """Write the record of a method that failed, and remove its table.

    Sound predictions that it made before are kept, and their record notes the failure.
    """
    kept = kept_predictions(folder, record)
    if kept is not None:
        failure = Failure(**now().model_dump(), settings=record.settings)
        _write(folder, kept.model_copy(update={"failed_since": failure}))
        return
    folder.influence_table(record.method).unlink(missing_ok=True)
    _write(folder, record.model_copy(update={"table_checksum": None}))


def _write(folder: RunFolder, record: InfluenceRecord) -> None:
    content = record.model_dump()
    ages = {"written": record.written != Written(), "failed_since": record.failed_since is not None}
    sound = {key: value for key, value in content.items() if ages.get(key, True)}
    write_json_result(folder, folder.influence_record(record.method), sound)
