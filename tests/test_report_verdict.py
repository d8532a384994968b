"""The verdict says what the numbers say: it fails what is off, and names by how much."""

import math

import numpy as np
import pandas as pd
import pytest

from plots.agreement import agreement
from report.verdict import (
    Finding,
    MethodVerdict,
    format_number,
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
    assert verdict.holds
    assert verdict.headline == "predicts the change that retraining finds"


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


def test_a_random_scatter_fails_by_r() -> None:
    assert "Pearson r" in failing(judge(np.random.default_rng(1).permutation(ACTUAL)))


def test_one_outlier_fails_by_the_largest_error() -> None:
    predicted = ACTUAL.copy()
    predicted[0] += 0.2 * np.abs(ACTUAL).max()
    assert failing(judge(predicted)) == ["largest error"]


@pytest.mark.parametrize("predicted", [np.full(200, np.nan), np.full(200, np.inf), np.zeros(200)])
def test_what_has_no_agreement_fails_everything_it_cannot_show(predicted: np.ndarray) -> None:
    verdict = judge(predicted)
    assert not verdict.holds
    assert "no agreement" in verdict.headline


def points(changes: list[float], certificate: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"train_index": range(len(changes)), "actual_change": changes, "certificate": certificate}
    )


def test_a_point_counts_once_however_many_methods_list_it() -> None:
    rows = pd.concat([points([0.1, 1e-9], 1e-6)] * 3)
    assert "1 of 2" in judge_truth(rows, 0.0, 1e-9)[0].words


def test_truth_below_its_certificates_fails() -> None:
    assert not judge_truth(points([1e-7] * 10, 1e-6), 0.0, 1e-9)[0].holds
    assert judge_truth(points([1e-2] * 10, 1e-6), 0.0, 1e-9)[0].holds


def test_one_effect_in_a_hundred_may_be_undecided() -> None:
    assert judge_truth(points([1e-2] * 99 + [1e-9], 1e-6), 0.0, 1e-9)[0].holds


def test_a_null_control_beyond_its_certificate_fails() -> None:
    rows = points([1e-2], 1e-6)
    assert [finding.holds for finding in judge_truth(rows, -2e-9, 1e-9)] == [True, False]
    assert all(finding.holds for finding in judge_truth(rows, -1e-10, 1e-9))


def test_nothing_is_judged_by_a_truth_that_fails() -> None:
    truth = (Finding(measure="null control", value="1", holds=False, words="…"),)
    assert summarise([judge(ACTUAL)], truth)[0] is False


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
        (1.0061, "1"),
        (6.7e-7, "6.7e−07"),
        (math.nan, "undefined"),
        (-math.inf, "−∞"),
        (123456.0, "1.2e+05"),
    ],
)
def test_numbers_are_short_and_have_a_true_minus(value: float, text: str) -> None:
    assert format_number(value) == text
