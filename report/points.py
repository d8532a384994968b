"""The data of the interactive figure: columns of numbers, rounded to what a screen can show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame

from plots.limits import row_limits

MOST_POINTS = 5000
"""Training points of one test point that are drawn; the others are counted. More would make the file, and a
browser's memory, several times larger."""
DIGITS = 9
"""As many as a change of 0.01 has before a certificate of 1e-9."""


def figure_data(table: DataFrame, titles: Mapping[str, str]) -> dict[str, Any]:
    """Pack the table for the page.

    Args:
        table: `leave_one_out.csv`: one row per method × test point × training point.
        titles: a method's title by name; a method without one is called by its name.

    Returns:
        What JSON can hold: `methods`, `classes`, and for each of `tests` the columns of its
        points, and of each method the rows it has predictions for. What is not finite is None.
    """
    methods = table["method"].unique().tolist()
    return {
        "methods": [{"name": name, "title": titles.get(name, name)} for name in methods],
        "classes": sorted(int(label) for label in table["label"].unique()),
        "tests": [
            _of_test(int(str(test)), rows, methods) for test, rows in table.groupby("test_index", sort=False)
        ],
    }


def drawn_points(table: DataFrame) -> list[int]:
    """The training points that the figure draws, over all test points, ascending."""
    return sorted({int(i) for _, rows in table.groupby("test_index") for i in _drawn(rows)["train_index"]})


def _drawn(rows: DataFrame) -> DataFrame:
    """The points of one test point, once each; if there are too many, those of largest actual change."""
    points = rows.drop_duplicates("train_index").set_index("train_index", drop=False)
    order = points["actual_change"].abs().sort_values(ascending=False, kind="stable").index
    return points.loc[order[:MOST_POINTS]].sort_index()


def _of_test(test: int, rows: DataFrame, methods: Sequence[str]) -> dict[str, Any]:
    points = _drawn(rows)
    predictions, finite = {}, {}
    for method in methods:
        own = rows[rows["method"] == method].set_index("train_index").reindex(points.index)
        finite[method] = own[np.isfinite(own["predicted_change"]) & np.isfinite(own["actual_change"])]
        predictions[method] = {
            "change": numbers(own["predicted_change"]),
            "stderr": numbers(own["predicted_stderr"]),
            # Points that another method chose are no points of this one.
            "has": [bool(found) for found in own["method"].notna()],
        }
    shown = row_limits(
        [part["actual_change"].to_numpy(np.float64) for part in finite.values()],
        [part["predicted_change"].to_numpy(np.float64) for part in finite.values()],
    )
    for method, panel in zip(methods, shown, strict=True):
        predictions[method]["limits"] = {
            "actual": panel.actual,
            "predicted": panel.predicted,
            "own": panel.own,
        }
    return {
        "index": test,
        "train_index": [int(i) for i in points["train_index"]],
        "label": [int(label) for label in points["label"]],
        "actual": numbers(points["actual_change"]),
        "certificate": numbers(points["certificate"]),
        "predictions": predictions,
        "left_out": rows["train_index"].nunique() - len(points),
    }


def numbers(column: "pd.Series[float]") -> list[float | None]:
    """A column as JSON can hold it, rounded to `DIGITS`."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in column]
