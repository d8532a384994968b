"""The truth that scores are judged by: in a run folder, or in a file of `repro ground-truth`.

leave_one_out.csv is enough for the statistics, and needs neither data nor torch. What else is asked, and only
where L2 is in question, see `repro.score_l2`.
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from repro.configuration.compose import compose
from repro.configuration.mistakes import no_run
from repro.errors import UsageError
from repro.folder.naming import run_folder
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder
from repro.records.group_rows import read_removals
from repro.records.influence import read_predicted
from repro.score_l2 import l2_terms_of_run
from score.formats.tables import MAGIC, parquet_table
from score.predicted import ScoresError
from score.truth import GroupTruth, Truth, TruthError, truth_of_table

HALVES = "halves"
"""What groups.csv calls models that keep a random share of the rows."""


def default_truth() -> Path:
    """The run folder of the configuration, which nobody has named."""
    folder = run_folder(compose([]))
    if not folder.manifest.exists():
        raise UsageError(
            f"no truth is named, and {folder.path}, the run folder of the default configuration, holds no "
            "run; name a run folder by --against FOLDER, or by --against FILE a file of repro ground-truth"
        )
    return folder.path


def truth_at(path: Path) -> Truth:
    """The truth in a run folder, which is open for the length of this call, or in a table.

    Raises:
        UsageError: there is none.
        StageError: the run folder has no leave-one-out models yet.
    """
    if path.is_dir():
        folder = RunFolder(path)
        if not folder.manifest.exists():
            raise UsageError(no_run(path, folder.manifest.name))
        with open_run(folder):
            try:
                return _truth_of_run(folder)
            except TruthError as error:
                raise UsageError(f"{path} has no truth to judge by: its table {error}") from error
    try:
        return truth_of_table(_table(path))
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: no such file; name a run folder or a file of repro ground-truth"
        ) from error
    except (TruthError, ScoresError) as error:
        raise UsageError(f"{path}: {error}") from error


def _table(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        parquet = file.read(4) == MAGIC
    if parquet:
        return parquet_table(path)
    try:
        return pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise TruthError(f"is no table ({' '.join(str(error).split())[:80]})") from error


def _truth_of_run(folder: RunFolder) -> Truth:
    tables = [known for name in folder.methods() if (known := read_predicted(folder, name)) is not None]
    labels = _labels([table for _, table in tables])
    try:
        table = pd.read_csv(folder.table)
    except FileNotFoundError:
        table = _changes(folder)
    truth = truth_of_table(table, num_train=None if labels is None else len(labels))
    return Truth(
        points=truth.points,
        num_train=truth.num_train,
        labels=labels,
        halves=_halves(folder, truth.num_train),
        l2_terms=functools.cache(lambda: l2_terms_of_run(folder, list(truth.points), tables)),
    )


def _labels(tables: list[pd.DataFrame]) -> Int[np.ndarray, " n"] | None:
    """Of all training points, as every table of predictions has them."""
    if not tables:
        return None
    rows = tables[0][tables[0]["test_index"] == tables[0]["test_index"].iloc[0]]
    return np.asarray(rows["label"].to_numpy(dtype=np.int64))


def _halves(folder: RunFolder, num_train: int | None) -> dict[int, GroupTruth]:
    """Models of halves, where groups.csv is of such; by test point.

    Raises:
        TruthError: a file is not as this tool writes it.
    """
    try:
        table = pd.read_csv(folder.groups)
        removals = [np.array(rows, dtype=np.int64) for rows in read_removals(folder)]
        table = table[table["selection"] == HALVES].drop_duplicates(["test_index", "removal"])
        if any(rows.size == 0 or rows.min() < 0 or rows.max() >= (num_train or 0) for rows in removals):
            raise ValueError("removals.json names rows that there are not")
        return {
            int(str(target)): GroupTruth(
                rows=tuple(removals[place] for place in rows["removal"]),
                actual_change=rows["actual_change"].to_numpy(dtype=np.float64),
                certificate=rows["certificate"].to_numpy(dtype=np.float64),
            )
            for target, rows in table.groupby("test_index")
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise TruthError(f"of groups is damaged ({' '.join(str(error).split())[:80]})") from error


def _changes(folder: RunFolder) -> pd.DataFrame:
    from repro.agreement import actual_changes
    from repro.session import Session
    from repro.stages.ground_truth import changes_so_far

    return actual_changes(*changes_so_far(Session(compose([str(folder.path)]))))
