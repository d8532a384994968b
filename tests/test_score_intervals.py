"""The intervals of a score hold whatever the certificates allow, and are not idle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from plots.agreement import agreement
from score.interval import Interval
from score.measures import Measures, measure

NAMES = ("pearson", "spearman", "slope", "intercept", "max_abs_error", "top_overlap")


def problem(seed: int, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heavy-tailed truths as of removals, a noisy prediction, certificates of very different sizes."""
    generator = np.random.default_rng(seed)
    m = int(generator.integers(3, 60))
    y = generator.standard_t(2, m)
    x = y + generator.normal(size=m) * 10 ** generator.uniform(-4, 0)
    if generator.random() < 0.2:
        y = np.round(y)
    return x, y, size * generator.exponential(size=m) * np.abs(y).mean()


def moved(x: np.ndarray, y: np.ndarray, e: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A truth within the certificates: at corners, along the gradient of r, or anywhere."""
    kind = generator.integers(4)
    centred = x - x.mean()
    towards = [
        np.sign(generator.normal(size=len(y))),
        np.sign(centred) * generator.choice([-1, 1]),
        np.sign(centred / np.linalg.norm(centred) - y / (np.linalg.norm(y) + 1e-300)),
        generator.uniform(-1, 1, len(y)),
    ][kind]
    return np.asarray(y + np.clip(towards, -1, 1) * e * generator.choice([1.0, 0.999]))


@settings(deadline=None)
@given(seed=st.integers(0, 10**9), size=st.sampled_from([1e-9, 1e-3, 0.05, 0.3, 3.0]))
def test_no_truth_within_the_certificates_leaves_the_intervals(seed: int, size: float) -> None:
    x, y, e = problem(seed, size)
    found = measure(x, y, e)
    generator = np.random.default_rng(seed + 1)
    for _ in range(25):
        other = measure(x, moved(x, y, e, generator), np.zeros_like(e))
        for name in NAMES:
            value, interval = getattr(other, name).value, getattr(found, name)
            if not np.isnan(value) and not np.isnan(interval.value):
                # Two sums in another order.
                slack = 1e-9 * max(1.0, abs(value))
                assert interval.low - slack <= value <= interval.high + slack, name


def test_intervals_of_lines_and_errors_are_reached() -> None:
    x, y, e = problem(3, 0.05)
    found = measure(x, y, e)
    centred = x - x.mean()
    assert measure(x, y + np.sign(centred) * e, 0 * e).slope.value == pytest.approx(found.slope.high)
    assert measure(x, y + np.sign(y - x) * e, 0 * e).max_abs_error.value == pytest.approx(
        found.max_abs_error.high
    )


def test_the_interval_of_r_is_of_the_order_that_is_reached() -> None:
    """On certificates like those of a run it is at most ten times as wide as what a search finds."""
    x, y, e = problem(5, 1e-3)
    found = measure(x, y, e).pearson
    generator = np.random.default_rng(0)
    values = [measure(x, moved(x, y, e, generator), 0 * e).pearson.value for _ in range(2000)]
    assert 0 < found.high - found.low < 10 * (max(values) - min(values))


def test_values_are_those_of_the_summary() -> None:
    x, y, e = problem(8, 0.01)
    found, plain = measure(x, y, e), agreement(x, y)
    for name in ("pearson", "spearman", "slope", "intercept", "max_abs_error"):
        assert getattr(found, name).value == pytest.approx(getattr(plain, name), rel=1e-10)
    assert found.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_without_certificates_nothing_is_claimed() -> None:
    x, y, _ = problem(8, 0.01)
    found = measure(x, y, np.full_like(y, np.inf))
    assert (found.pearson.low, found.pearson.high) == (-1, 1)
    assert found.slope.high == np.inf
    assert found.decided.value == 0


def test_constant_predictions_have_no_correlation() -> None:
    _, y, e = problem(8, 0.01)
    found: Measures = measure(np.ones_like(y), y, e)
    assert np.isnan(found.pearson.value)
    assert np.isnan(found.slope.value)
    assert isinstance(found.max_abs_error, Interval)
