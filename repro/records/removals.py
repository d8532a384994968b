"""influence/METHOD.parquet: what a method predicts of removals as wholes, each with its own certificate.

The record of the method has the file's checksum, as it has that of the table.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.records.influence import InfluenceRecord, vouched_for
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
    content = table[list(COLUMNS)].to_parquet(index=False)
    write_result(folder, path, lambda temporary: temporary.write_bytes(content))
    return hashlib.sha256(content).hexdigest()


def read_removals_of(folder: RunFolder, record: InfluenceRecord) -> pd.DataFrame:
    """The table that the record vouches for; without rows where there is none, or another."""
    content = vouched_for(folder.influence_removals(record.method), record.removals_checksum)
    return NO_REMOVALS if content is None else pd.read_parquet(content)


def certified_points(folder: RunFolder, record: InfluenceRecord) -> pd.DataFrame:
    """What a method has certified of single points: `certified_change` and `predicted_certificate`."""
    known = read_removals_of(folder, record)
    points = known[(known["size"] == 1) & (known["l2_scaling"] == "mean")]
    return pd.DataFrame(
        {
            "test_index": points["test_index"].astype(np.int64),
            "train_index": points["removal"].astype(np.int64),
            "certified_change": points["predicted_change"].astype(np.float64),
            "predicted_certificate": points["predicted_certificate"].astype(np.float64),
        }
    )


def corrects(record: InfluenceRecord) -> bool:
    """Whether a method corrects what it certifies."""
    return bool(record.settings.get("correction", "none") != "none")


def as_stated(folder: RunFolder, record: InfluenceRecord, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a method's table; where it corrects what it certifies, with the corrected changes."""
    if not corrects(record):
        return rows
    keys = ["test_index", "train_index"]
    known = certified_points(folder, record).set_index(keys)["certified_change"]
    corrected = known.reindex(pd.MultiIndex.from_frame(rows[keys])).to_numpy()
    own = rows["predicted_change"].to_numpy(dtype=np.float64)
    return rows.assign(predicted_change=np.where(np.isnan(corrected), own, corrected))


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
