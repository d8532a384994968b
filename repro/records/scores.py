"""score.json and score.csv: scores of other tools and what was found of them, as later commands read them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from repro.printable import printable_strings
from score.faults import Fault
from score.measures import Measures
from score.score import Findings

COLUMNS = (
    "scores", "test_index", "train_index", "predicted_change", "mended_change", "actual_change",
    "certificate",
)  # fmt: skip
"""Of score.csv: a row for each file, test point and left-out point."""

ROUNDING = 1e-12
"""Of a difference of test losses, beside losses of about 1: what another order of summation may change."""

_BY_POINT, _FAULTS = TypeAdapter(dict[int, Measures]), TypeAdapter(tuple[Fault, ...])


@dataclass(frozen=True, kw_only=True)
class FileFindings:
    """What score.json says of one file."""

    file: str
    """Its path, as it was given."""
    findings: Findings

    def as_json(self) -> dict[str, object]:
        """What `read_scores_found` reads."""
        return {"file": self.file, **self.findings.as_json()}


def read_scores_found(record: Path, table: Path) -> tuple[dict[str, FileFindings], pd.DataFrame]:
    """What was found of each file, by its name, and score.csv; both maybe a stranger's.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is not of the form that this tool writes.
    """
    try:
        content = json.loads(record.read_text(encoding="utf-8"), object_hook=_with_nan)
        found = {name: _of_file(entry) for name, entry in printable_strings(content)["scores"].items()}
        rows = pd.read_csv(table, dtype={"scores": str})[list(COLUMNS)]
        rows["scores"] = [printable_strings(name) for name in rows["scores"]]
        numbers = rows.drop(columns=["scores", "mended_change"]).to_numpy(dtype=np.float64)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from error
    if rows.empty or np.isnan(numbers).any():
        raise ValueError("score.csv has rows without numbers")
    if not set(rows["scores"]) <= found.keys():
        raise ValueError("score.csv has scores that score.json does not speak of")
    return found, rows.astype({"test_index": np.int64, "train_index": np.int64})


def _with_nan(content: dict[str, Any]) -> dict[str, Any]:
    """An interval with NaN for what JSON lacks; any other object as it is."""
    if content.keys() != {"value", "low", "high"}:
        return content
    return {end: math.nan if value is None else value for end, value in content.items()}


def _of_file(entry: dict[str, Any]) -> FileFindings:
    points = entry.get("test_points", {entry["test_index"]: entry})
    try:
        faults, measures = _FAULTS.validate_python(entry["changes"]), _BY_POINT.validate_python(points)
        mended = {target: point["mended"] for target, point in points.items()}
        return FileFindings(
            file=str(entry["file"]),
            findings=Findings(
                measures=measures,
                faults=faults,
                too_few_points=entry.get("too_few_points") is True,  # not in files of before
                mended=_BY_POINT.validate_python(mended) if faults else measures,
            ),
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"score.json: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


def same_truth(table: pd.DataFrame, known: pd.DataFrame) -> bool:
    """Whether the actual changes that both tables have are the same, and there are such.

    By their certificates where they have any; where training went on, which nothing bounds, up to rounding.
    """
    pair = ["test_index", "train_index"]
    both = table.merge(
        known[[*pair, "actual_change"]].drop_duplicates(pair), on=pair, suffixes=("", "_known")
    )
    actual, known_actual = (both[f"actual_change{of}"].to_numpy(np.float64) for of in ("", "_known"))
    certificate = both["certificate"].to_numpy(np.float64)
    bound = np.where(np.isfinite(certificate), certificate, 0.0) + ROUNDING * (1 + np.abs(known_actual))
    return not both.empty and bool((np.abs(actual - known_actual) <= bound).all())
