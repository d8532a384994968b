"""CSV and Parquet: a row for each pair of test and training point, for each training point, or a matrix."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from score.formats.limits import MAX_NUMBERS, check_shape, check_size, refused
from score.predicted import Scores, ScoresError

MAGIC = b"PAR1"
TEST = ("test_index", "test_id", "query_index", "query")
TRAIN = ("train_index", "train_id", "indices", "index", "idx", "Unnamed: 0")
VALUES = (
    "predicted_change", "score", "scores", "value", "data_value", "data_values", "influence", "influences",
)  # fmt: skip
"""What columns are called, the likeliest first."""


def read_csv(path: Path) -> Scores:
    """Separated by commas, with names above the columns or without."""
    check_size(path)
    with refused("is no file of scores that can be read", ValueError):
        first = pd.read_csv(path, nrows=1, header=None)
        named = not all(pd.api.types.is_numeric_dtype(first[column]) for column in first)
        table = pd.read_csv(path, header=0 if named else None)
    return _matrix(table.rename(columns=str), "csv") if not named else of_table(table, "csv")


def read_parquet(path: Path) -> Scores:
    """What its metadata say of its size is asked before anything is read."""
    return of_table(parquet_table(path), "parquet")


def parquet_table(path: Path) -> pd.DataFrame:
    """Its columns; more than can be held are refused.

    Raises:
        ScoresError: it is damaged or claims too much.
    """
    damaged = refused("is a damaged Parquet file", pa.ArrowException, OSError, ValueError)
    with damaged, pq.ParquetFile(path) as file:
        check_shape((file.metadata.num_rows, file.metadata.num_columns))
        sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
        if sum(sizes) > 8 * MAX_NUMBERS:
            raise ScoresError(f"claims {sum(sizes):,} bytes, more than is read")
        table: pd.DataFrame = file.read().to_pandas(ignore_metadata=True)
    return table


def of_table(table: pd.DataFrame, form: str) -> Scores:
    """Scores in a table.

    Raises:
        ScoresError: no column, or more than one, can be the scores.
    """
    names = [str(name) for name in table.columns]
    table.columns = pd.Index(names)
    test = next((name for name in TEST if name in names), None)
    train = next((name for name in TRAIN if name in names), None)
    rest = [name for name in names if name not in (test, train)]
    value = next((name for name in VALUES if name in rest), rest[0] if len(rest) == 1 else None)
    if value is None:
        if all(name.isdigit() for name in rest) or train is None:
            return _matrix(table[rest], form)
        raise ScoresError(
            f"has the columns {', '.join(names[:8])}; call those of scores test_index, train_index and "
            "predicted_change"
        )
    _check_numbers(table, [name for name in (test, train, value) if name])
    if train is None:
        if test is not None:
            raise ScoresError("has test_index and no train_index, so its rows are nobody's")
        return Scores(values=table[[value]].to_numpy(dtype=np.float64).T, form=form)
    return _long(table, test, train, value, form)


def _long(table: pd.DataFrame, test: str | None, train: str, value: str, form: str) -> Scores:
    for name in filter(None, (test, train)):
        if not pd.api.types.is_integer_dtype(table[name]) or bool((table[name] < 0).any()):
            raise ScoresError(f"column {name}: expected integers from 0")
    known = table.assign(_test=0 if test is None else table[test])
    if bool(known.duplicated(["_test", train]).any()):
        raise ScoresError("scores a training point twice for one test point")
    tests, trains = known["_test"].drop_duplicates().tolist(), np.sort(known[train].unique())
    check_shape((len(tests), len(trains)))
    if len(known) != len(tests) * len(trains):
        raise ScoresError("scores other training points for one test point than for another; score the same")
    wide = known.sort_values(["_test", train])[value].to_numpy(dtype=np.float64)
    complete = np.array_equal(trains, np.arange(len(trains)))
    return Scores(
        values=wide.reshape(len(tests), len(trains)),
        test_index=None if test is None else tuple(sorted(int(one) for one in tests)),
        train_index=None if complete else trains.astype(np.int64),
        form=form,
    )


def _matrix(table: pd.DataFrame, form: str) -> Scores:
    _check_numbers(table, list(table.columns))
    values = table.to_numpy(dtype=np.float64)
    # One number in a line is how a vector is written.
    return Scores(values=values.T if values.shape[1] == 1 else values, form=form)


def _check_numbers(table: pd.DataFrame, names: list[str]) -> None:
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ScoresError(f"column {name}: expected numbers")
