"""The data of the interactive figure on groups: columns of numbers, and whose pictures a card shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pandas import DataFrame

from report.points import numbers

MEMBERS = 8
"""Pictures in the card of a group: its members of largest predicted influence."""


def group_figure_data(
    table: DataFrame,
    groups: Sequence[Sequence[int]],
    labels: Int[np.ndarray, " n"],
    influence: Mapping[int, Float[np.ndarray, " n"]],
    titles: Mapping[str, str],
) -> dict[str, Any]:
    """Pack groups.csv for the page.

    Args:
        table: a row for each method, test point and group.
        groups: the rows of each `removal` of the table.
        labels: classes of the training points.
        influence: by test point, what the strongest members of a group are chosen by.
        titles: a method's title by name.

    Returns:
        What JSON can hold: `methods`, `sizes` and `classes` of groups, and for each of `tests` the columns
        of its groups.
    """
    methods = table["method"].unique().tolist()
    return {
        "methods": [{"name": name, "title": titles.get(name, name)} for name in methods],
        "sizes": [len(rows) for rows in groups],
        "classes": [_classes(labels[list(rows)]) for rows in groups],
        "tests": [
            _of_test(int(str(test)), rows, methods, groups, influence[int(str(test))])
            for test, rows in table.groupby("test_index", sort=False)
        ],
    }


def shown_members(figure: Mapping[str, Any]) -> list[int]:
    """The training points whose pictures the cards show, ascending."""
    return sorted({row for test in figure["tests"] for rows in test["members"] for row in rows})


def _of_test(
    test: int,
    rows: DataFrame,
    methods: Sequence[str],
    groups: Sequence[Sequence[int]],
    influence: Float[np.ndarray, " n"],
) -> dict[str, Any]:
    points = rows.drop_duplicates("removal").set_index("removal", drop=False).sort_index()
    by_method = {method: rows[rows["method"] == method].set_index("removal") for method in methods}
    own = {method: found.reindex(points.index) for method, found in by_method.items()}
    return {
        "index": test,
        "removal": [int(place) for place in points["removal"]],
        "actual": numbers(points["actual_change"]),
        "certificate": numbers(points["certificate"]),
        "predictions": {
            method: {
                "change": numbers(found["predicted_change"]),
                "stderr": numbers(found["predicted_stderr"]),
                "certificate": numbers(found["predicted_certificate"]),
            }
            for method, found in own.items()
        },
        "members": [_strongest(groups[int(place)], influence) for place in points["removal"]],
    }


def _strongest(rows: Sequence[int], influence: Float[np.ndarray, " n"]) -> list[int]:
    members = np.array(rows)
    order = np.argsort(-np.abs(influence[members]), kind="stable")[:MEMBERS]
    return [int(row) for row in members[order]]


def _classes(labels: Int[np.ndarray, " s"]) -> list[tuple[int, int]]:
    """Classes and how many rows they have, most first."""
    found, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(found[place]), int(counts[place])) for place in order]
