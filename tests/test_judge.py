"""The judge of page and `diagnose` says what the numbers say: it fails what is off, and names by how much."""

import math

import numpy as np
import pandas as pd
import pytest

from diagnosis.figure import FigureVerdict, Method, judge_figure
from diagnosis.measures import Pairs
from diagnosis.predictions import (
    DIVERGED,
    DOES_NOT,
    FIRST_ORDER,
    HEAVY,
    ONE_STEP,
    ORDERS,
    OUTCOMES,
    PREDICTS,
    ROUGHLY,
    UNDECIDED,
    MethodVerdict,
    judge_method,
)
from diagnosis.truth import Retrained, Truth, judge_truth
from diagnosis.verdict import Verdict, conclude
from plots.numbers import format_number, format_signed

ACTUAL = np.random.default_rng(0).normal(size=200)
FACTORS = {"the factor 1/n": 1500.0, "the final 1/scale": 25.0, "the mean over the repeats": 10.0}


def judge(
    predicted: np.ndarray,
    actual: np.ndarray = ACTUAL,
    amplification: np.ndarray | None = None,
    baseline: bool = False,
) -> MethodVerdict:
    pairs = Pairs(
        predicted=predicted,
        actual=actual,
        certificate=np.full(len(actual), 1e-9),
        amplification=np.ones(len(actual)) if amplification is None else amplification,
    )
    return judge_method("m", pairs, baseline=baseline, factors=FACTORS)


def failing(verdict: MethodVerdict) -> list[str]:
    return [finding.check for finding in verdict.findings if not finding.passed]


def with_correlation(r: float, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and changes with just this r, a slope of 1 and no intercept."""
    draw = np.random.default_rng(3)
    a = draw.normal(size=size)
    a -= a.mean()
    noise = draw.normal(size=size)
    noise -= noise.mean() + a * (noise @ a) / (a @ a)
    noise *= np.linalg.norm(a) / np.linalg.norm(noise)
    # actual = predicted + what it does not see, which is orthogonal to it.
    predicted = r * (r * a + math.sqrt(1 - r * r) * noise)
    return predicted, a


def test_perfect_predictions_hold() -> None:
    verdict = judge(ACTUAL)
    assert failing(verdict) == []
    assert verdict.passed
    assert verdict.headline.startswith("predicts the change that retraining finds: the points lie on a line;")
    assert verdict.remedy == ""


def test_a_slope_of_1_without_a_line_is_no_agreement() -> None:
    """r = 0.31: neither scale nor shift is wrong, and it predicts nothing."""
    predicted, actual = with_correlation(0.31, size=10)
    slope, intercept = np.polyfit(predicted, actual, 1)
    assert slope == pytest.approx(1)
    assert intercept == pytest.approx(0, abs=1e-12)
    verdict = judge(predicted, actual)
    assert verdict.agreement.pearson == pytest.approx(0.31)
    assert verdict.passed is False
    assert "Pearson r" in failing(verdict)


@pytest.mark.parametrize(("name", "factor"), FACTORS.items())
def test_a_forgotten_factor_fails_by_its_slope_though_r_is_1_and_is_named(name: str, factor: float) -> None:
    verdict = judge(ACTUAL * factor)
    assert failing(verdict) == ["slope", "largest error"]
    assert verdict.agreement.slope == pytest.approx(1 / factor)
    assert "order of the changes right, but not their size" in verdict.headline
    assert f"too large by a factor of {format_number(factor)}" in verdict.headline
    assert name in verdict.remedy


def test_predictions_that_are_too_small_are_said_to_be_so_and_no_factor_is_blamed() -> None:
    verdict = judge(ACTUAL / 1.5)
    assert "too small by a factor of 1.5" in verdict.headline
    assert "too few steps" in verdict.remedy
    assert not any(name in verdict.remedy for name in FACTORS)


def test_a_sign_error_is_named() -> None:
    verdict = judge(-ACTUAL)
    assert "wrong sign" in verdict.headline
    assert "the line of the points falls" in verdict.headline
    assert "sign is turned" in verdict.remedy
    assert "slope" in failing(verdict)


def test_a_shift_fails_by_its_intercept_though_r_and_slope_are_1() -> None:
    verdict = judge(ACTUAL + 0.02 * np.abs(ACTUAL).max())
    assert failing(verdict) == ["intercept"]
    assert "L2" in verdict.remedy


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


@pytest.mark.parametrize("predicted", [np.full(200, np.nan), np.full(200, np.inf)])
def test_predictions_that_are_not_finite_are_said_to_be(predicted: np.ndarray) -> None:
    verdict = judge(predicted)
    assert verdict.outcome == DIVERGED
    assert verdict.passed is False
    assert len(failing(verdict)) == len(verdict.findings)


def test_predictions_of_nothing_do_not_predict() -> None:
    assert judge(np.zeros(200)).outcome == DOES_NOT


@pytest.mark.parametrize("actual", [np.empty(0), np.ones(1), np.array([1.0, 2.0]), np.ones(9), np.zeros(9)])
def test_points_that_can_show_nothing_are_undecided(actual: np.ndarray) -> None:
    verdict = judge(actual, actual)
    assert verdict.outcome == UNDECIDED
    assert verdict.passed is None
    assert {finding.passed for finding in verdict.findings} == {None}


def test_what_was_predicted_where_nothing_changes_is_wrong() -> None:
    verdict = judge(ACTUAL, np.zeros(200))
    assert verdict.passed is False
    assert "nothing changes, and" in verdict.headline


def leverage(size: int, heaviest: float) -> np.ndarray:
    """Amplifications 1/(1 − h) with h up to `heaviest`."""
    amplification: np.ndarray = 1 / (1 - np.random.default_rng(5).uniform(0, heaviest, size))
    return amplification


def test_what_leverage_explains_is_no_wrong_factor() -> None:
    """A correct first-order prediction falls short of each change by that point's leverage."""
    factors = leverage(200, 0.5)
    verdict = judge(ACTUAL / factors, ACTUAL, factors)
    assert verdict.agreement.slope > 1.25
    assert judge(ACTUAL / factors).passed is False
    assert verdict.outcome == FIRST_ORDER
    assert verdict.passed
    assert "leverage" in verdict.headline
    assert verdict.remedy == ""


def test_where_points_are_too_heavy_to_tell_it_is_undecided() -> None:
    """Truth between first order and what the residual's growth would make of it, as at large leverage."""
    factors = leverage(200, 0.8)
    verdict = judge(ACTUAL / factors**0.6, ACTUAL, factors)
    assert verdict.outcome == HEAVY
    assert verdict.passed is None
    assert False not in {finding.passed for finding in verdict.findings}
    assert "leverage of up to 80%" in verdict.headline


def test_where_leverage_is_large_what_is_bad_is_not_blamed_on_the_method_alone() -> None:
    factors = leverage(200, 0.5)
    verdict = judge(ACTUAL / factors / 2, ACTUAL, factors)
    assert verdict.passed is False
    assert "leverage of up to 50%" in verdict.remedy
    assert "--method exact" in verdict.remedy


@pytest.mark.parametrize("wrong", [25.0, 2.0, 0.5, -1.0, 0.0])
def test_leverage_excuses_no_wrong_factor(wrong: float) -> None:
    factors = leverage(200, 0.3)
    verdict = judge(wrong * ACTUAL / factors, ACTUAL, factors)
    assert verdict.passed is False


def test_leverage_that_hardly_matters_excuses_nothing() -> None:
    """A shift of 5 % lies within the error that is allowed, and no leverage of 4 % made it."""
    factors = leverage(200, 0.04)
    shifted = judge(ACTUAL / factors + 0.05 * np.abs(ACTUAL).max(), ACTUAL, factors)
    assert shifted.passed is False
    assert "intercept" in failing(shifted)
    assert "L2" in shifted.remedy


def test_leverage_excuses_no_shift_and_no_scatter() -> None:
    factors = leverage(200, 0.3)
    shifted = ACTUAL / factors + 0.2 * np.abs(ACTUAL).max()
    assert judge(shifted, ACTUAL, factors).passed is False
    assert judge(np.random.default_rng(1).permutation(ACTUAL), ACTUAL, factors).passed is False


def test_a_baseline_condemns_nothing_and_says_what_it_does() -> None:
    verdict = judge(ACTUAL / 5, baseline=True)
    assert verdict.outcome == ORDERS
    assert verdict.passed is None
    line = verdict.as_verdict()
    assert not line.counts
    assert "a baseline" in line.evidence
    assert "too small by a factor of 5" in line.evidence
    assert judge(ACTUAL / 5).as_verdict().passed is False


def test_three_states_are_concluded_from_what_counts() -> None:
    def verdict(passed: bool | None, counts: bool = True) -> Verdict:
        return Verdict(check="c", passed=passed, evidence="", counts=counts)

    good, bad, open_ = verdict(True), verdict(False), verdict(None)
    assert conclude([good, good]) is True
    assert conclude([good, open_]) is None
    assert conclude([good, open_, bad]) is False
    assert conclude([good, verdict(None, counts=False)]) is True
    assert conclude([]) is None
    assert conclude([verdict(None, counts=False)]) is None


def truth(actual: list[float], certificate: float, null_control: float = 0.0, missed: int = 0) -> Truth:
    return Truth(
        actual=np.array(actual),
        certificate=np.full(len(actual), certificate),
        null_control=null_control,
        null_certificate=1e-9,
        models=11,
        missed=missed,
    )


def states(found: Truth) -> list[bool | None]:
    return [verdict.passed for verdict in judge_truth(found)]


def test_truth_below_its_certificates_fails() -> None:
    assert states(truth([1e-7] * 10, 1e-6)) == [False, True, True]
    assert states(truth([1e-2] * 10, 1e-6)) == [True, True, True]


def test_one_effect_in_a_hundred_may_be_undecided_and_ten_may_not() -> None:
    assert states(truth([1e-2] * 99 + [1e-9], 1e-6))[0] is True
    assert states(truth([1e-2] * 90 + [1e-9] * 10, 1e-6))[0] is False


def test_where_nothing_changes_there_is_nothing_to_see() -> None:
    assert states(truth([0.0] * 10, 0.0))[0] is None
    assert states(truth([0.0] * 10, 1e-6))[0] is None


def test_a_null_control_beyond_its_certificate_fails() -> None:
    assert states(truth([1e-2], 1e-6, null_control=-2e-9)) == [True, True, False]
    assert states(truth([1e-2], 1e-6, null_control=-1e-10)) == [True, True, True]


def test_models_that_missed_their_tolerance_fail_the_truth() -> None:
    found = judge_truth(truth([1e-2], 1e-6, missed=2))
    assert [verdict.passed for verdict in found] == [True, False, True]
    assert "2 of 11" in found[1].evidence


def test_what_is_not_known_is_not_taken_for_known() -> None:
    assert states(truth([1e-2] * 10, math.nan))[0] is False
    assert states(truth([math.nan] * 10, 1e-6))[0] is False
    assert states(truth([1e-2], 1e-6, null_control=math.nan))[2] is False


def figure(
    predictions: dict[str, np.ndarray], baselines: tuple[str, ...] = (), missed: int = 0
) -> FigureVerdict:
    """The verdict on methods that all predict ACTUAL, each in its way."""
    rows = pd.concat(
        [
            pd.DataFrame(
                {
                    "method": name,
                    "train_index": range(len(ACTUAL)),
                    "predicted_change": predicted,
                    "actual_change": ACTUAL,
                    "certificate": 1e-9,
                }
            )
            for name, predicted in predictions.items()
        ]
    )
    retrained = Retrained(null_control=0.0, null_certificate=1e-9, models=len(ACTUAL) + 1, missed=missed)
    return judge_figure(
        rows, retrained, [Method(name=name, baseline=name in baselines) for name in predictions]
    )


def test_a_point_counts_once_however_many_methods_list_it() -> None:
    found = figure({"a": ACTUAL, "b": ACTUAL, "c": ACTUAL})
    assert found.truth[0].numbers["points"] == 200


@pytest.mark.parametrize(("label", "certificate"), [("continued", np.inf), ("quadratic", 1e-9)])
def test_predictions_of_models_that_are_no_minima_are_told_why(label: str, certificate: float) -> None:
    """No solver's setting and no forgotten convention is what such predictions are off by."""
    rows = pd.DataFrame(
        {
            "method": "m",
            "train_index": range(len(ACTUAL)),
            "predicted_change": 0.5 * ACTUAL + 0.1,
            "actual_change": ACTUAL,
            "certificate": certificate,
            "truth": label,
            "margin": np.nan,
        }
    )
    retrained = Retrained(null_control=0.0, null_certificate=1e-9, models=9, missed=0)
    (found,) = judge_figure(rows, retrained, [Method(name="m")]).methods
    assert found.passed is False
    assert ("retrain=default" if label == "continued" else "retrain.damping") in found.remedy
    assert "steps of the solver" not in found.remedy


def test_nothing_is_judged_by_a_truth_that_fails() -> None:
    found = figure({"right": ACTUAL}, missed=1)
    assert found.passed is False
    assert "not known well enough" in found.summary


def test_the_summary_names_who_predicts_and_who_does_not_and_one_that_fails_fails_the_figure() -> None:
    found = figure({"right": ACTUAL, "good": ACTUAL, "large": 25 * ACTUAL, "wrong": -ACTUAL})
    assert found.passed is False
    assert found.summary == (
        "right and good predict the change that retraining finds; large gets the order of the changes right, "
        "but not their size; wrong does not predict the change that retraining finds."
    )


def test_a_baseline_that_fails_leaves_the_figure_good_and_alone_leaves_it_undecided() -> None:
    found = figure({"right": ACTUAL, "products": ACTUAL / 5}, baselines=("products",))
    assert found.passed is True
    assert found.summary == (
        "right predicts the change that retraining finds; products, a baseline, gets the order of the "
        "changes right, but not their size."
    )
    assert figure({"products": ACTUAL / 5}, baselines=("products",)).passed is None


def test_every_outcome_has_a_plural() -> None:
    for outcome in OUTCOMES:
        found = [
            MethodVerdict(
                method=name,
                outcome=outcome,
                findings=(),
                agreement=judge(ACTUAL).agreement,
                remedy="",
                baseline=False,
            )
            for name in ("a", "b")
        ]
        summary = FigureVerdict(truth=judge_truth(truth([1.0], 1e-6)), methods=tuple(found)).summary
        verb = summary.removeprefix("a and b ").split(" ")[0]
        assert not verb.endswith("s") or verb == "cannot", summary


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


def test_the_outcomes_of_these_tests_are_all_there_are() -> None:
    assert set(OUTCOMES) == {
        PREDICTS, FIRST_ORDER, ROUGHLY, ORDERS, DOES_NOT, DIVERGED, HEAVY, UNDECIDED, ONE_STEP,
    }  # fmt: skip


def random_table(draw: np.random.Generator) -> tuple[Pairs, float, float, float, float]:
    """Points with leverage, predicted to first order, then off by a factor, a shift and noise."""
    size = int(draw.integers(4, 300))
    actual = draw.standard_t(draw.uniform(1.5, 10), size) * 10.0 ** draw.uniform(-8, 2)
    heaviest = float(draw.choice([0.0, 0.02, 0.1, 0.3, 0.6, 0.9]))
    amplification = 1 / (1 - draw.uniform(0, heaviest, size))
    largest = float(np.abs(actual).max())
    factor = float(draw.choice([1.0, 1.0, 1.0, -1.0, 1 / 25, 1 / 1.5, 1.5, 10.0, 25.0, 1500.0]))
    shift = float(draw.choice([0.0, 0.0, 0.05, 0.2, -0.2])) * largest
    noise = float(draw.choice([0.0, 0.005, 0.3]))
    predicted = factor * actual / amplification + shift + noise * largest * draw.normal(size=size)
    pairs = Pairs(
        predicted=predicted, actual=actual, certificate=np.full(size, 1e-12), amplification=amplification
    )
    return pairs, heaviest, factor, shift, noise


@pytest.mark.parametrize("seed", range(10))
def test_random_tables_never_pass_with_what_was_put_wrong_into_them(seed: int) -> None:
    draw = np.random.default_rng(seed)
    for _ in range(40):
        pairs, heaviest, factor, shift, noise = random_table(draw)
        verdict = judge_method("m", pairs, factors=FACTORS)
        error = float(np.abs(pairs.predicted - pairs.actual).max()) / pairs.largest
        corrected = float(np.abs(pairs.predicted * pairs.amplification - pairs.actual).max()) / pairs.largest
        if verdict.passed:
            # Good is what errs within the limit at every point, as it is or with leverage counted in.
            assert min(error, corrected) <= 0.1
        if verdict.passed is None:
            assert verdict.outcome in (HEAVY, UNDECIDED)
            assert heaviest >= 0.1
        if (factor, shift) == (1.0, 0.0) and noise == 0:
            # An honest method is never bad.
            assert verdict.passed is not False
        if factor not in (1.0, 1 / 1.5, 1.5) and heaviest <= 0.3:
            assert verdict.passed is False
        # Neither units nor the order of the points, nor that it is a baseline, change what is found.
        turned = slice(None, None, -1)
        other = Pairs(
            predicted=(8 * pairs.predicted)[turned].copy(),
            actual=(8 * pairs.actual)[turned].copy(),
            certificate=(8 * pairs.certificate)[turned].copy(),
            amplification=pairs.amplification[turned].copy(),
        )
        assert judge_method("m", other).outcome == verdict.outcome
        assert judge_method("m", pairs, baseline=True).outcome == verdict.outcome
