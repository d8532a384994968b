"""influence/METHOD.parquet: what a method predicts of removals as wholes, each with its own certificate.

The record of the method has the file's checksum, as it has that of the table.
"""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.records.influence import InfluenceRecord
from retrain.removal import Removal

KEYS = ("test_index", "l2_scaling", "removal")
COLUMNS = (*KEYS, "size", "predicted_change", "predicted_certificate")
"""`removal` is what `name_of` calls it."""

NO_REMOVALS = pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})


def name_of(rows: Removal) -> str:
    """The row of a single point, and of a group a digest of its rows."""
    if len(rows) == 1:
        return str(rows[0])
    return hashlib.sha256(np.array(rows, dtype="<i8").tobytes()).hexdigest()[:32]


def write_removals(folder: RunFolder, method: str, table: pd.DataFrame) -> str | None:
    """Write the table and return its checksum; without rows a file of earlier ones goes."""
    path = folder.influence_removals(method)
    if table.empty:
        path.unlink(missing_ok=True)
        return None
    checksum = ""

    def write(temporary: Path) -> None:
        nonlocal checksum
        table[list(COLUMNS)].to_parquet(temporary, index=False)
        checksum = hashlib.sha256(temporary.read_bytes()).hexdigest()

    write_result(folder, path, write)
    return checksum


def read_removals_of(folder: RunFolder, record: InfluenceRecord) -> pd.DataFrame:
    """The table that the record vouches for; without rows where there is none, or another."""
    if record.removals_checksum is None:
        return NO_REMOVALS
    try:
        content = folder.influence_removals(record.method).read_bytes()
    except OSError:
        return NO_REMOVALS
    if hashlib.sha256(content).hexdigest() != record.removals_checksum:
        return NO_REMOVALS
    return pd.read_parquet(BytesIO(content))


def own_predictions(
    table: pd.DataFrame, target: int, groups: Sequence[Removal], scaling: str
) -> pd.DataFrame | None:
    """`predicted_change` and `predicted_certificate` of groups in their order; None where one is missing."""
    chosen = table[(table["test_index"] == target) & (table["l2_scaling"] == scaling)]
    found = chosen.set_index("removal")[["predicted_change", "predicted_certificate"]]
    names = [name_of(rows) for rows in groups]
    if not found.index.is_unique or not set(names) <= set(found.index):
        return None
    return found.loc[names].reset_index(drop=True)
