"""The five measures of a panel, each against its limit, in words."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diagnosis.limits import ERROR, FOLLOWS, INTERCEPT, PEARSON, SLOPE, SPEARMAN
from diagnosis.verdict import Verdict
from plots.agreement import Agreement
from plots.numbers import format_number, format_r, format_share, format_slope


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What a panel shows: one entry per point."""

    predicted: Float[np.ndarray, " k"]
    actual: Float[np.ndarray, " k"]
    certificate: Float[np.ndarray, " k"]
    """Bounds on the errors of `actual`."""
    amplification: Float[np.ndarray, " k"]
    """By what factor a removal exceeds its first order, after `retrain.leverage`; 1 where none is known."""

    @property
    def largest(self) -> float:
        """max |actual|, in units of the test loss."""
        return float(np.abs(self.actual).max(initial=0.0))


def measure(found: Agreement, pairs: Pairs) -> tuple[Verdict, ...]:
    """Pearson's and Spearman's r, slope, intercept and largest error, in this order."""
    return (
        _judge_r(found.pearson),
        _judge_rank(found.spearman),
        _judge_slope(found.slope, found.pearson),
        _judge_intercept(found.intercept, pairs.largest),
        _judge_error(found.max_abs_error, pairs),
    )


def _judge_r(r: float) -> Verdict:
    if math.isnan(r):
        return Verdict(check="Pearson r", value="undefined", passed=None, evidence="r is undefined")
    if r >= PEARSON:
        words = "the points lie on a line" if r >= 0.999 else "the points lie near a line"
    else:
        words = "the line of the points falls" if r <= -PEARSON else "the points do not lie on a line"
    return Verdict(check="Pearson r", value=format_r(r), passed=r >= PEARSON, evidence=words)


def _judge_rank(r: float) -> Verdict:
    if math.isnan(r):
        return Verdict(check="Spearman r", value="undefined", passed=None, evidence="there is no order")
    words = "the order is right" if r >= SPEARMAN else "the order is not right"
    return Verdict(check="Spearman r", value=format_r(r), passed=r >= SPEARMAN, evidence=words)


def _judge_slope(slope: float, pearson: float) -> Verdict:
    passed: bool | None = abs(slope - 1) <= SLOPE
    if math.isnan(slope):
        passed, words = None, "the slope is undefined"
    elif passed:
        words = f"the scale is right to {format_share(abs(slope - 1))}"
    elif slope <= 0:
        turned = pearson <= -FOLLOWS
        words = "predictions have the wrong sign" if turned else "the changes do not follow the predictions"
    else:
        way, factor = ("small", slope) if slope > 1 else ("large", 1 / slope)
        words = f"predictions are too {way} by a factor of {format_number(factor)}"
    return Verdict(check="slope", value=format_slope(slope), passed=passed, evidence=words)


def _judge_intercept(intercept: float, largest: float) -> Verdict:
    value = format_number(intercept)
    if math.isnan(intercept) or not largest:
        return Verdict(check="intercept", value=value, passed=None, evidence="a shift cannot be told")
    passed = abs(intercept) / largest <= INTERCEPT
    words = "nothing is shifted" if passed else f"predictions are shifted by {value}"
    return Verdict(check="intercept", value=value, passed=passed, evidence=words)


def _judge_error(error: float, pairs: Pairs) -> Verdict:
    value = format_number(error)
    if not pairs.largest and math.isfinite(error):
        # Nothing changes; a prediction beyond what the changes are known to is wrong all the same.
        passed = None if error <= float(pairs.certificate.max(initial=0.0)) else False
        words = "nothing changes at all" if passed is None else f"nothing changes, and {value} was predicted"
        return Verdict(check="largest error", value=value, passed=passed, evidence=words)
    if math.isnan(error) or not pairs.largest:
        return Verdict(check="largest error", value=value, passed=None, evidence="the error is undefined")
    share = error / pairs.largest
    words = f"the largest error is {format_share(share)} of the largest change"
    return Verdict(check="largest error", value=value, passed=share <= ERROR, evidence=words)
