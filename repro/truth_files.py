"""The files that actual changes are exported to: tables, or matrices by test point and training point."""

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from erm.files import write_atomically
from repro.errors import UsageError

TABLES, MATRICES = (".csv", ".parquet"), (".npz", ".safetensors")


def check_suffix(out: Path, grouped: bool) -> None:
    """Refuse a name that says no format, before any work.

    Raises:
        UsageError: naming those that there are.
    """
    known = TABLES if grouped else TABLES + MATRICES
    if out.suffix not in known:
        raise UsageError(f"--out {out}: expected a name that ends in {', '.join(known[:-1])} or {known[-1]}")


def write_truth(table: pd.DataFrame, out: Path) -> None:
    """Write a table, or arrays: test_index (t), train_index (m), actual_change and certificate (t × m).

    Args:
        table: a row for each pair, test point by test point, the same training points in each.
        out: the format by its suffix.
    """
    if out.suffix in MATRICES:
        arrays = _matrices(table)
        if out.suffix == ".npz":
            write_atomically(out, lambda path: np.savez(path, **arrays))  # type: ignore[arg-type]
        else:
            write_atomically(out, lambda path: save_file(arrays, path))
        return
    write = table.to_parquet if out.suffix == ".parquet" else table.to_csv
    write_atomically(out, lambda path: write(path, index=False))


def _matrices(table: pd.DataFrame) -> dict[str, np.ndarray]:
    tests = table["test_index"].drop_duplicates().to_numpy(dtype=np.int64)
    trains = table.loc[table["test_index"] == tests[0], "train_index"].to_numpy(dtype=np.int64)
    shape = (len(tests), len(trains))
    found = {name: table[name].to_numpy(dtype=np.float64) for name in ("actual_change", "certificate")}
    return {
        "test_index": tests,
        "train_index": trains,
        **{name: np.ascontiguousarray(values.reshape(shape)) for name, values in found.items()},
    }
