"""The data of the interactive figure: columns of numbers, rounded to what a screen can show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas import DataFrame

from plots.limits import Limits, row_limits

MOST_POINTS = 5000
"""Training points of one test point that are drawn; the others are counted. More would make the file, and a
browser's memory, several times larger."""
DIGITS = 9
"""As many as a change of 0.01 has before a certificate of 1e-9."""


Column = list[float | None]
"""Rounded to `DIGITS`; None is what is not finite, which JSON lacks."""


@dataclass(frozen=True, kw_only=True)
class FigureMethod:
    """A method by its name in the tables and its title in the figure."""

    name: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Of one method for one test point, in the order of its points."""

    change: Column
    stderr: Column
    has: list[bool]
    """Points that another method chose are no points of this one."""
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class FigureTest:
    """The points of one test point, by training index."""

    index: int
    train_index: list[int]
    label: list[int]
    actual: Column
    certificate: Column
    predictions: dict[str, Predictions]
    """By method."""
    left_out: int
    """Points that are not drawn."""


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """All that is drawn; the page's scripts read it by these names."""

    methods: list[FigureMethod]
    classes: list[int]
    tests: list[FigureTest]


def figure_data(table: DataFrame, titles: Mapping[str, str]) -> FigureData:
    """Pack the table for the page.

    Args:
        table: `leave_one_out.csv`: one row per method × test point × training point.
        titles: a method's title by name; a method without one is called by its name.
    """
    methods = table["method"].unique().tolist()
    return FigureData(
        methods=figure_methods(methods, titles),
        classes=sorted(int(label) for label in table["label"].unique()),
        tests=[
            _of_test(int(str(test)), rows, methods) for test, rows in table.groupby("test_index", sort=False)
        ],
    )


def figure_methods(names: Sequence[str], titles: Mapping[str, str]) -> list[FigureMethod]:
    """The methods with their titles; one without is called by its name."""
    return [FigureMethod(name=name, title=titles.get(name, name)) for name in names]


def drawn_points(table: DataFrame) -> list[int]:
    """The training points that the figure draws, over all test points, ascending."""
    return sorted({int(i) for _, rows in table.groupby("test_index") for i in _drawn(rows)["train_index"]})


def _drawn(rows: DataFrame) -> DataFrame:
    """The points of one test point, once each; if there are too many, those of largest actual change."""
    points = rows.drop_duplicates("train_index").set_index("train_index", drop=False)
    order = points["actual_change"].abs().sort_values(ascending=False, kind="stable").index
    return points.loc[order[:MOST_POINTS]].sort_index()


def _of_test(test: int, rows: DataFrame, methods: Sequence[str]) -> FigureTest:
    points = _drawn(rows)
    own = [
        rows[rows["method"] == method].set_index("train_index").reindex(points.index) for method in methods
    ]
    finite = [
        part[np.isfinite(part["predicted_change"]) & np.isfinite(part["actual_change"])] for part in own
    ]
    shown = row_limits(
        [part["actual_change"].to_numpy(np.float64) for part in finite],
        [part["predicted_change"].to_numpy(np.float64) for part in finite],
    )
    return FigureTest(
        index=test,
        train_index=[int(i) for i in points["train_index"]],
        label=[int(label) for label in points["label"]],
        actual=numbers(points["actual_change"]),
        certificate=numbers(points["certificate"]),
        predictions={
            method: Predictions(
                change=numbers(part["predicted_change"]),
                stderr=numbers(part["predicted_stderr"]),
                has=[bool(found) for found in part["method"].notna()],
                limits=limits,
            )
            for method, part, limits in zip(methods, own, shown, strict=True)
        },
        left_out=rows["train_index"].nunique() - len(points),
    )


def numbers(column: "pd.Series[float]") -> Column:
    """A column as JSON can hold it, rounded to `DIGITS`."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in column]
