"""The data of the interactive figure on groups: columns of numbers, and whose pictures a card shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pandas import DataFrame

from report.points import Column, FigureMethod, figure_methods, numbers

MEMBERS = 8
"""Pictures in the card of a group: its members of largest predicted influence."""


@dataclass(frozen=True, kw_only=True)
class GroupPredictions:
    """Of one method for one test point, in the order of its groups."""

    change: Column
    stderr: Column
    certificate: Column
    """The prediction's own."""


@dataclass(frozen=True, kw_only=True)
class GroupFigureTest:
    """The groups of one test point."""

    index: int
    removal: list[int]
    actual: Column
    certificate: Column
    predictions: dict[str, GroupPredictions]
    """By method."""
    members: list[list[int]]
    """Whose pictures the card of each group shows."""


@dataclass(frozen=True, kw_only=True)
class GroupFigureData:
    """All that is drawn; the page's script reads it by these names."""

    methods: list[FigureMethod]
    sizes: list[int]
    classes: list[list[tuple[int, int]]]
    """Of each group, its classes and how many rows they have."""
    tests: list[GroupFigureTest]


def group_figure_data(
    table: DataFrame,
    groups: Sequence[Sequence[int]],
    labels: Int[np.ndarray, " n"],
    influence: Mapping[int, Float[np.ndarray, " n"]],
    titles: Mapping[str, str],
) -> GroupFigureData:
    """Pack groups.csv for the page.

    Args:
        table: a row for each method, test point and group.
        groups: the rows of each `removal` of the table.
        labels: classes of the training points.
        influence: by test point, what the strongest members of a group are chosen by.
        titles: a method's title by name.
    """
    methods = table["method"].unique().tolist()
    return GroupFigureData(
        methods=figure_methods(methods, titles),
        sizes=[len(rows) for rows in groups],
        classes=[_classes(labels[list(rows)]) for rows in groups],
        tests=[
            _of_test(int(str(test)), rows, methods, groups, influence[int(str(test))])
            for test, rows in table.groupby("test_index", sort=False)
        ],
    )


def shown_members(figure: GroupFigureData) -> list[int]:
    """The training points whose pictures the cards show, ascending."""
    return sorted({row for test in figure.tests for rows in test.members for row in rows})


def _of_test(
    test: int,
    rows: DataFrame,
    methods: Sequence[str],
    groups: Sequence[Sequence[int]],
    influence: Float[np.ndarray, " n"],
) -> GroupFigureTest:
    points = rows.drop_duplicates("removal").set_index("removal", drop=False).sort_index()
    by_method = {method: rows[rows["method"] == method].set_index("removal") for method in methods}
    own = {method: found.reindex(points.index) for method, found in by_method.items()}
    return GroupFigureTest(
        index=test,
        removal=[int(place) for place in points["removal"]],
        actual=numbers(points["actual_change"]),
        certificate=numbers(points["certificate"]),
        predictions={
            method: GroupPredictions(
                change=numbers(found["predicted_change"]),
                stderr=numbers(found["predicted_stderr"]),
                certificate=numbers(found["predicted_certificate"]),
            )
            for method, found in own.items()
        },
        members=[_strongest(groups[int(place)], influence) for place in points["removal"]],
    )


def _strongest(rows: Sequence[int], influence: Float[np.ndarray, " n"]) -> list[int]:
    members = np.array(rows)
    order = np.argsort(-np.abs(influence[members]), kind="stable")[:MEMBERS]
    return [int(row) for row in members[order]]


def _classes(labels: Int[np.ndarray, " s"]) -> list[tuple[int, int]]:
    """Classes and how many rows they have, most first."""
    found, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(found[place]), int(counts[place])) for place in order]
