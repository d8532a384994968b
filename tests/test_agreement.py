"""The agreement statistics: closed forms, and what each of them must be able to see."""

import math

import numpy as np
import pytest

from plots.agreement import Agreement, agreement

# Sums of a handful of doubles of size 1.
ROUNDING = 1e-12


def noisy_pairs(noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    predicted = generator.normal(size=400)
    return predicted, predicted + noise * generator.normal(size=400)


def test_closed_form_of_a_small_example() -> None:
    # Deviations (−1.5, −0.5, 0.5, 1.5) and (−1.5, 0.5, −0.5, 1.5): Sxy = 4, Sxx = Syy = 5.
    found = agreement(np.array([1.0, 2.0, 3.0, 4.0]), np.array([11.0, 13.0, 12.0, 14.0]))
    assert found.pearson == pytest.approx(0.8, abs=ROUNDING)
    assert found.spearman == pytest.approx(0.8, abs=ROUNDING)
    assert found.slope == pytest.approx(0.8, abs=ROUNDING)
    assert found.intercept == pytest.approx(12.5 - 0.8 * 2.5, abs=10 * ROUNDING)
    assert found.max_abs_error == 11.0
    assert found.points == 4


def test_spearman_sees_order_only() -> None:
    predicted = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = agreement(predicted, np.exp(predicted))
    assert found.spearman == pytest.approx(1.0, abs=ROUNDING)
    assert found.pearson < 0.95


def test_a_forgotten_factor_leaves_r_at_one_and_shows_in_the_slope() -> None:
    actual, _ = noisy_pairs()
    found = agreement(25.0 * actual, actual)
    assert found.pearson == pytest.approx(1.0, abs=ROUNDING)
    assert found.slope == pytest.approx(1 / 25, rel=ROUNDING)
    assert found.intercept == pytest.approx(0.0, abs=ROUNDING)
    assert found.max_abs_error == pytest.approx(24 * np.abs(actual).max(), rel=ROUNDING)


def test_a_shift_leaves_r_and_slope_at_one_and_shows_in_the_intercept() -> None:
    predicted, _ = noisy_pairs()
    found = agreement(predicted, predicted + 1.1e-5)
    assert found.pearson == pytest.approx(1.0, abs=ROUNDING)
    assert found.slope == pytest.approx(1.0, abs=ROUNDING)
    # The digits that survive subtracting numbers of size 1.
    assert found.intercept == pytest.approx(1.1e-5, abs=ROUNDING)
    assert found.max_abs_error == pytest.approx(1.1e-5, abs=ROUNDING)


def test_a_wrong_sign_shows_in_every_statistic() -> None:
    actual, _ = noisy_pairs()
    found = agreement(-actual, actual)
    for statistic in (found.pearson, found.spearman, found.slope):
        assert statistic == pytest.approx(-1.0, abs=ROUNDING)


def test_the_line_is_actual_on_predicted_and_not_the_reverse() -> None:
    predicted, actual = noisy_pairs()
    design = np.stack([predicted, np.ones_like(predicted)], axis=1)
    slope, intercept = np.linalg.lstsq(design, actual)[0]
    found = agreement(predicted, actual)
    assert found.slope == pytest.approx(slope, abs=ROUNDING)
    assert found.intercept == pytest.approx(intercept, abs=ROUNDING)
    # The two lines of noisy data differ: their slopes multiply to r², here about 0.8.
    reverse = agreement(actual, predicted)
    assert found.slope * reverse.slope == pytest.approx(found.pearson**2, abs=ROUNDING)
    assert found.pearson**2 < 0.9


def test_units_of_either_side_pass_through() -> None:
    predicted, actual = noisy_pairs()
    plain, scaled = agreement(predicted, actual), agreement(1e-5 * predicted, 1e-3 * actual)
    assert scaled.slope == pytest.approx(100 * plain.slope, rel=ROUNDING)
    assert scaled.intercept == pytest.approx(1e-3 * plain.intercept, rel=ROUNDING)
    assert scaled.pearson == pytest.approx(plain.pearson, rel=ROUNDING)


def undefined(found: Agreement) -> set[str]:
    names = ("pearson", "spearman", "slope", "intercept", "max_abs_error")
    return {name for name in names if math.isnan(getattr(found, name))}


def test_no_point_defines_nothing() -> None:
    found = agreement(np.array([]), np.array([]))
    assert undefined(found) == {"pearson", "spearman", "slope", "intercept", "max_abs_error"}
    assert found.points == 0


def test_one_point_has_an_error_and_nothing_else() -> None:
    found = agreement([0.5], [0.75])
    assert undefined(found) == {"pearson", "spearman", "slope", "intercept"}
    assert (found.max_abs_error, found.points) == (0.25, 1)


@pytest.mark.parametrize("wobble", [0.0, 1e-16])
def test_constant_predictions_define_neither_correlation_nor_line(wobble: float) -> None:
    found = agreement(np.array([0.1, 0.1 + wobble, 0.1]), np.array([1.0, 2.0, 3.0]))
    assert undefined(found) == {"pearson", "spearman", "slope", "intercept"}
    assert found.max_abs_error == pytest.approx(2.9, abs=ROUNDING)


def test_constant_actual_changes_define_a_flat_line_but_no_correlation() -> None:
    found = agreement(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.5, 0.5]))
    assert undefined(found) == {"pearson", "spearman"}
    assert found.slope == 0.0
    assert found.intercept == pytest.approx(0.5, abs=ROUNDING)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_prediction_that_is_not_finite_is_never_left_out(bad: float) -> None:
    found = agreement(np.array([1.0, bad, 3.0]), np.array([1.0, 2.0, 3.0]))
    assert undefined(found) == {"pearson", "spearman", "slope", "intercept", "max_abs_error"}
    assert found.points == 3


def test_predictions_that_grew_without_bound_overflow_nothing() -> None:
    actual, _ = noisy_pairs()
    found = agreement(1e200 * actual, actual)
    assert found.pearson == pytest.approx(1.0, abs=ROUNDING)
    assert found.slope == pytest.approx(1e-200, rel=ROUNDING)


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) and actual \(2,\)"):
        agreement(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="vectors"):
        agreement(np.zeros((2, 2)), np.zeros((2, 2)))
