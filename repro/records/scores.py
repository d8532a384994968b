"""score.json and score.csv: scores of other tools and what was found of them, as later commands read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repro.printable import printable_strings

COLUMNS = (
    "scores", "test_index", "train_index", "predicted_change", "mended_change", "actual_change",
    "certificate",
)  # fmt: skip
"""Of score.csv: a row for each file, test point and left-out point."""

ROUNDING = 1e-12
"""Of a difference of test losses, beside losses of about 1: what another order of summation may change."""


def read_scores_found(record: Path, table: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """What was found of each file, by its name, and score.csv; both maybe a stranger's.

    Raises:
        OSError, ValueError, LookupError, TypeError: there is none, or it is not of the form that this tool
            writes.
    """
    found = printable_strings(json.loads(record.read_text(encoding="utf-8")))["scores"]
    rows = pd.read_csv(table, dtype={"scores": str})[list(COLUMNS)]
    rows["scores"] = [printable_strings(name) for name in rows["scores"]]
    numbers = rows.drop(columns=["scores", "mended_change"]).to_numpy(dtype=np.float64)
    if rows.empty or np.isnan(numbers).any():
        raise ValueError("score.csv has rows without numbers")
    if not isinstance(found, dict) or not set(rows["scores"]) <= found.keys():
        raise ValueError("score.csv has scores that score.json does not speak of")
    if not all(isinstance(one, dict) and "file" in one for one in found.values()):
        raise ValueError("score.json has scores of no file")
    return found, rows.astype({"test_index": np.int64, "train_index": np.int64})


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
