"""The runs of a sweep as one table."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from repro.errors import StageError
from repro.folder.paths import RunFolder
from repro.records.summary import Summary, read_summary
from repro.sweep.job import SweepRun


def joined(
    folder: Path, records: list[SweepRun], swept: list[str], common: Sequence[int] | None
) -> pd.DataFrame:
    """One row per run, test point and method: the values swept over, then the statistics of its summary.

    Args:
        folder: of the sweep.
        records: of its runs: overrides and folder of each.
        swept: the keys.
        common: the test points that all runs are to explain; None where they are swept over.

    Raises:
        StageError: a run explains other test points.
    """
    rows = []
    for record in records:
        values = dict(text.split("=", 1) for text in record.overrides)
        if not set(swept) <= values.keys():
            continue
        points = _summary(RunFolder(folder / record.folder))
        if common is not None and points and set(points) != set(common):
            raise StageError(
                f"{folder / record.folder} explains test points {sorted(points)}, the sweep "
                f"{sorted(common)}; they cannot be joined. Remove that folder, and the same command makes it "
                "again"
            )
        for test_index, point in points.items():
            rows += [
                # Where test points are swept over, the command line may have a list: a row has one of it.
                {"run": record.folder, **{name: values[name] for name in swept}, "test_index": test_index}
                | {"method": method, **result.as_json(), "max_certificate": point.max_certificate}
                for method, result in point.methods.items()
            ]
    table = pd.DataFrame(rows)
    for name in swept if len(table) else ():
        # Numbers as numbers, so that they sort and have an axis.
        converted = pd.to_numeric(table[name], errors="coerce")
        table[name] = table[name] if converted.isna().any() else converted
    return table.sort_values(list(dict.fromkeys([*swept, "test_index"]))) if len(table) else table


def _summary(run: RunFolder) -> Summary:
    """The summary of a run; empty where it did not come so far."""
    try:
        explained = pd.read_csv(run.table, usecols=["test_index"])["test_index"].unique().tolist()
        return read_summary(run, explained)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return {}
