"""The verdict says what the numbers say: it fails what is off, and names by how much."""

import math

import numpy as np
import pandas as pd
import pytest

from plots.agreement import agreement
from report.numbers import format_number, format_signed
from report.verdict import (
    DIVERGED,
    DOES_NOT,
    ROUGHLY,
    UNDECIDED,
    Finding,
    MethodVerdict,
    Truth,
    judge_method,
    judge_truth,
    summarise,
)

ACTUAL = np.random.default_rng(0).normal(size=200)


def judge(predicted: np.ndarray, actual: np.ndarray = ACTUAL) -> MethodVerdict:
    largest = float(np.abs(actual).max())
    return judge_method("m", "Title", agreement(predicted, actual), largest, seconds=1.0)


def failing(verdict: MethodVerdict) -> list[str]:
    return [finding.measure for finding in verdict.findings if not finding.holds]


def test_perfect_predictions_hold() -> None:
    verdict = judge(ACTUAL)
    assert failing(verdict) == []
    assert verdict.headline.startswith("predicts the change that retraining finds: the points lie on a line;")


def test_a_forgotten_factor_fails_by_its_slope_though_r_is_1() -> None:
    verdict = judge(ACTUAL / 25)
    assert failing(verdict) == ["slope", "largest error"]
    assert "order of the changes right, but not their size" in verdict.headline
    assert "too small by a factor of 25" in verdict.headline


def test_predictions_that_are_too_large_are_said_to_be() -> None:
    assert "too large by a factor of 2" in judge(2 * ACTUAL).headline


def test_a_sign_error_is_named() -> None:
    verdict = judge(-ACTUAL)
    assert "wrong sign" in verdict.headline
    assert "slope" in failing(verdict)


def test_a_shift_fails_by_its_intercept_though_r_and_slope_are_1() -> None:
    shift = 0.02 * np.abs(ACTUAL).max()
    assert failing(judge(ACTUAL + shift)) == ["intercept"]


def test_a_random_scatter_fails_by_both_correlations() -> None:
    verdict = judge(np.random.default_rng(1).permutation(ACTUAL))
    assert {"Pearson r", "Spearman r"} <= set(failing(verdict))
    assert verdict.outcome == DOES_NOT


def test_one_outlier_fails_by_the_largest_error() -> None:
    predicted = ACTUAL.copy()
    predicted[0] += 0.2 * np.abs(ACTUAL).max()
    verdict = judge(predicted)
    assert failing(verdict) == ["largest error"]
    assert verdict.outcome == ROUGHLY


def test_a_single_strong_point_does_not_make_up_for_a_wrong_order() -> None:
    actual = np.append(1e-3 * ACTUAL, 1.0)
    predicted = np.append(1e-3 * np.random.default_rng(1).permutation(ACTUAL), 1.0)
    verdict = judge(predicted, actual)
    assert failing(verdict) == ["Spearman r"]
    assert verdict.outcome == DOES_NOT


def test_a_line_that_falls_is_not_called_a_cloud() -> None:
    assert "the line of the points falls" in judge(-ACTUAL).headline


@pytest.mark.parametrize("predicted", [np.full(200, np.nan), np.full(200, np.inf)])
def test_predictions_that_are_not_finite_are_said_to_be(predicted: np.ndarray) -> None:
    verdict = judge(predicted)
    assert verdict.outcome == DIVERGED
    assert len(failing(verdict)) == len(verdict.findings)


def test_predictions_of_nothing_do_not_predict() -> None:
    assert judge(np.zeros(200)).outcome == DOES_NOT


@pytest.mark.parametrize("actual", [np.ones(1), np.array([1.0, 2.0]), np.ones(9), np.zeros(9)])
def test_points_that_can_show_nothing_are_no_failure(actual: np.ndarray) -> None:
    verdict = judge(actual, actual)
    assert verdict.outcome == UNDECIDED
    assert summarise([verdict], ())[0] is None


def truth(null_control: float = 0.0, missed: int = 0) -> Truth:
    return Truth(null_control=null_control, null_certificate=1e-9, models=11, missed=missed)


def points(changes: list[float], certificate: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"train_index": range(len(changes)), "actual_change": changes, "certificate": certificate}
    )


def test_a_point_counts_once_however_many_methods_list_it() -> None:
    rows = pd.concat([points([0.1, 1e-9], 1e-6)] * 3)
    assert "1 of 2" in judge_truth(rows, truth())[0].words


def test_truth_below_its_certificates_fails() -> None:
    assert not judge_truth(points([1e-7] * 10, 1e-6), truth())[0].holds
    assert judge_truth(points([1e-2] * 10, 1e-6), truth())[0].holds


def test_one_effect_in_a_hundred_may_be_undecided() -> None:
    assert judge_truth(points([1e-2] * 99 + [1e-9], 1e-6), truth())[0].holds


def test_a_null_control_beyond_its_certificate_fails() -> None:
    rows = points([1e-2], 1e-6)
    assert [finding.holds for finding in judge_truth(rows, truth(null_control=-2e-9))] == [True, True, False]
    assert all(finding.holds for finding in judge_truth(rows, truth(null_control=-1e-10)))


def test_models_that_missed_their_tolerance_fail_the_truth() -> None:
    found = judge_truth(points([1e-2], 1e-6), truth(missed=2))
    assert [finding.holds for finding in found] == [True, False, True]
    assert "2 of 11" in found[1].words


def test_what_is_not_known_is_not_taken_for_known() -> None:
    unknown = points([1e-2] * 10, math.nan)
    assert not judge_truth(unknown, truth())[0].holds
    assert not judge_truth(points([math.nan] * 10, 1e-6), truth())[0].holds
    assert not judge_truth(points([1e-2], 1e-6), truth(null_control=math.nan))[2].holds


def test_nothing_is_judged_by_a_truth_that_fails() -> None:
    failed = (Finding(measure="null control", value="1", holds=False, words="…"),)
    assert summarise([judge(ACTUAL)], failed)[0] is False


def test_the_summary_names_who_predicts_and_who_does_not() -> None:
    right, small, wrong = judge(ACTUAL), judge(ACTUAL / 25), judge(-ACTUAL)
    holds, words = summarise([right, right, small, wrong], ())
    assert holds
    assert words == (
        "m and m predict the change that retraining finds; m gets the order of the changes right, but not "
        "their size; m does not predict the change that retraining finds."
    )
    assert summarise([small, wrong], ())[0] is False


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.00021, "−2.1e−04"),
        (1.0061, "1.0"),
        (255.0, "255"),
        (1001.4, "1,001"),
        (0.0015, "0.0015"),
        (6.7e-7, "6.7e−07"),
        (math.nan, "undefined"),
        (-math.inf, "−∞"),
        (123456.0, "1.2e+05"),
    ],
)
def test_numbers_are_short_and_have_a_true_minus(value: float, text: str) -> None:
    assert format_number(value) == text


def test_signs_are_written_where_there_is_one() -> None:
    assert [format_signed(x) for x in (0.0306, -0.012, 0.0)] == ["+0.0306", "−0.0120", "0"]
