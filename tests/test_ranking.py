"""Helpful and harmful points: in order, once each, and only where the effect is certain."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import DataFrame, concat

from plots.ranking import COLUMNS, SHOWN, most_harmful, most_helpful

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)
POINTS = st.dictionaries(st.integers(0, 30), st.tuples(NUMBERS, st.floats(0, width=32) | st.just(math.nan)))
"""Actual change and certificate by training index."""


def table(points: dict[int, tuple[float, float]], methods: tuple[str, ...] = ("exact",)) -> DataFrame:
    rows = [(index, 7, actual, certificate) for index, (actual, certificate) in points.items()]
    return concat([DataFrame(rows, columns=list(COLUMNS)).assign(method=name) for name in methods])


@given(points=POINTS)
def test_the_largest_certain_effects_of_one_sign_in_order(points: dict[int, tuple[float, float]]) -> None:
    for sign, rank in ((1, most_helpful), (-1, most_harmful)):
        expected = sorted(
            (-sign * actual, index)
            for index, (actual, certificate) in points.items()
            if math.isfinite(actual) and sign * actual > 0 and abs(actual) > certificate
        )
        found = rank(table(points))
        assert found["train_index"].tolist() == [index for _, index in expected[:SHOWN]]
        assert found["actual_change"].tolist() == [-sign * effect for effect, _ in expected[:SHOWN]]
        assert found["certificate"].tolist() == [points[index][1] for index in found["train_index"]]
        assert found.columns.tolist() == list(COLUMNS)
        assert found.index.tolist() == list(range(len(found)))


@given(points=POINTS)
@settings(max_examples=30)
def test_a_point_that_several_methods_list_counts_once(points: dict[int, tuple[float, float]]) -> None:
    for rank in (most_helpful, most_harmful):
        several = rank(table(points, methods=("exact", "lissa", "grad_dot")))
        assert several.equals(rank(table(points)))


def test_an_effect_up_to_its_certificate_is_none() -> None:
    points = {0: (0.2, 0.2), 1: (0.2, 0.1), 2: (-0.3, 0.3), 3: (-0.3, 0.2), 4: (0.0, 0.0), 5: (9.0, math.inf)}
    assert most_helpful(table(points))["train_index"].tolist() == [1]
    assert most_harmful(table(points))["train_index"].tolist() == [3]


def test_the_table_s_order_does_not_matter_and_twelve_are_shown() -> None:
    effects = np.random.default_rng(0).permutation(np.linspace(0.01, 0.5, 50))
    found = most_helpful(table({index: (float(effect), 0.0) for index, effect in enumerate(effects)}))
    assert len(found) == SHOWN == 12
    assert found["actual_change"].tolist() == sorted(effects, reverse=True)[:12]


def test_what_is_not_a_table_of_one_test_point_is_refused() -> None:
    points = table({0: (0.1, 0.0)})
    with pytest.raises(ValueError, match="no column certificate;"):
        most_helpful(points.drop(columns="certificate"))
    with pytest.raises(ValueError, match="test points 8, 33; pass those of one"):
        most_harmful(concat([points.assign(test_index=8), points.assign(test_index=33)]))
