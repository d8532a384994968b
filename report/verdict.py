"""How far can a method, and the truth it is judged by, be believed? In words for who knows only the paper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pandas import DataFrame

from plots.agreement import Agreement
from plots.panel import format_r, format_slope
from report.numbers import format_number, format_share, format_times

GOOD_R = 0.95
"""Pearson's r below which the points no longer lie on a line."""
GOOD_RANK = 0.9
"""Spearman's r below which the order is not right."""
GOOD_SLOPE = 0.1
"""|slope − 1| up to which the scale is right; LiSSA with the paper's settings is within 0.07."""
GOOD_INTERCEPT = 0.01
"""|intercept| up to which nothing is shifted, as a share of the largest actual change."""
GOOD_ERROR = 0.1
"""Largest error that leaves the figure readable, as a share of the largest actual change."""
GOOD_UNDECIDED = 0.05
"""Share of the points whose actual change may be no larger than its certificate."""
FEWEST_POINTS = 3
"""Through two points goes a line, whatever they are."""

CRITERIA = (
    f"Pearson r at least {GOOD_R}, Spearman r at least {GOOD_RANK}, slope within {GOOD_SLOPE} of 1, "
    f"intercept at most {GOOD_INTERCEPT:.0%} and error at most {GOOD_ERROR:.0%} of the largest change; "
    f"for the truth: at most {GOOD_UNDECIDED:.0%} of the changes smaller than their certificates, "
    "every model at its tolerance, and the null control within its certificate"
)

PREDICTS = "predicts the change that retraining finds"
ROUGHLY = "follows the change that retraining finds, but errs widely at some points"
ORDERS = "gets the order of the changes right, but not their size"
DOES_NOT = "does not predict the change that retraining finds"
DIVERGED = "has predictions that are not finite"
UNDECIDED = "cannot be judged by these points"
PLURALS = {"predicts": "predict", "follows": "follow", "gets": "get", "does": "do", "has": "have"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number, whether it is as it should be, and what it means."""

    measure: str
    value: str
    holds: bool | None
    """None where it cannot be told."""
    words: str


@dataclass(frozen=True, kw_only=True)
class MethodVerdict:
    """What one method's panel shows."""

    method: str
    title: str
    outcome: str
    """PREDICTS, ROUGHLY, ORDERS, DOES_NOT, DIVERGED or UNDECIDED."""
    findings: tuple[Finding, ...]
    points: int
    seconds: float

    @property
    def headline(self) -> str:
        """The outcome, and why."""
        wanted = self.outcome == PREDICTS
        reasons = [finding.words for finding in self.findings if finding.holds is wanted]
        return f"{self.outcome}: {'; '.join(reasons)}" if reasons else self.outcome


@dataclass(frozen=True, kw_only=True)
class Truth:
    """How well the retrained models are known, apart from each point's certificate."""

    null_control: float
    """The change that is found when nothing is removed, which should be 0."""
    null_certificate: float
    """The bound on its error."""
    models: int
    missed: int
    """Models whose gradient norm is above the tolerance."""


def judge_method(
    method: str, title: str, agreement: Agreement, largest_change: float, seconds: float
) -> MethodVerdict:
    """Judge how well predictions match the truth.

    Args:
        method: its name.
        title: its name in the figure.
        agreement: statistics of its points.
        largest_change: max |actual change| over them, in units of the test loss.
        seconds: what it took.
    """
    findings = (
        _judge_r(agreement.pearson),
        _judge_rank(agreement.spearman),
        _judge_slope(agreement.slope),
        _judge_intercept(agreement.intercept, largest_change),
        _judge_error(agreement.max_abs_error, largest_change),
    )
    return MethodVerdict(
        method=method,
        title=title,
        outcome=_outcome(agreement, findings),
        findings=findings,
        points=agreement.points,
        seconds=seconds,
    )


def _outcome(agreement: Agreement, findings: tuple[Finding, ...]) -> str:
    line, order, slope, intercept, error = (finding.holds for finding in findings)
    if not math.isfinite(agreement.max_abs_error):
        return DIVERGED
    if agreement.points < FEWEST_POINTS:
        return UNDECIDED
    if math.isnan(agreement.pearson):
        # One side does not vary. An error that is large all the same speaks for itself.
        return DOES_NOT if error is False else UNDECIDED
    if all(finding.holds for finding in findings):
        return PREDICTS
    if not order:
        return DOES_NOT
    return ROUGHLY if line and slope and intercept else ORDERS


def judge_truth(table: DataFrame, truth: Truth) -> tuple[Finding, ...]:
    """Judge the retrained models themselves.

    Args:
        table: rows of one test point with `train_index`, `actual_change` and `certificate`.
        truth: what else is known of them.
    """
    points = table.drop_duplicates("train_index")
    sizes = points["actual_change"].abs()
    # Written so that NaN counts as undecided.
    undecided = int((~(sizes > points["certificate"])).sum())
    largest, typical = float(points["certificate"].max(skipna=False)), float(sizes.median())
    room = f", {format_times(typical / largest)} less than the typical change" if typical > largest else ""
    return (
        Finding(
            measure="largest certificate",
            value=format_number(largest),
            holds=undecided <= GOOD_UNDECIDED * len(points),
            words=f"every actual change is known to within {format_number(largest)}{room}"
            + (f"; {undecided} of {len(points)} are too small to be told from 0" if undecided else ""),
        ),
        Finding(
            measure="gradient norms",
            value=str(truth.missed),
            holds=truth.missed == 0,
            words=f"all {truth.models:,} retrained models reached their tolerance"
            if truth.missed == 0
            else f"{truth.missed:,} of {truth.models:,} retrained models missed their tolerance",
        ),
        Finding(
            measure="null control",
            value=format_number(truth.null_control),
            holds=abs(truth.null_control) <= truth.null_certificate,
            words=f"retraining with nothing removed changes the loss by {format_number(truth.null_control)}, "
            f"its certificate being {format_number(truth.null_certificate)}",
        ),
    )


def summarise(verdicts: Sequence[MethodVerdict], truth: Sequence[Finding]) -> tuple[bool | None, str]:
    """Whether the figure can be believed, None where it cannot be told, and a sentence that says so."""
    if not all(finding.holds for finding in truth):
        return False, "The retrained models are not known well enough to judge a method by."
    outcomes: dict[str, list[str]] = {}
    for outcome in (PREDICTS, ROUGHLY, ORDERS, DOES_NOT, DIVERGED, UNDECIDED):
        names = [verdict.method for verdict in verdicts if verdict.outcome == outcome]
        if names:
            outcomes[outcome] = names
    holds = True if PREDICTS in outcomes else None if set(outcomes) == {UNDECIDED} else False
    return holds, "; ".join(_sentence(names, outcome) for outcome, names in outcomes.items()) + "."


def measures(verdicts: Sequence[MethodVerdict]) -> list[str]:
    """The names of the findings, in order, once each: the columns of the table."""
    return list(dict.fromkeys(finding.measure for verdict in verdicts for finding in verdict.findings))


def _judge_r(r: float) -> Finding:
    if math.isnan(r):
        return Finding(measure="Pearson r", value="undefined", holds=None, words="r is undefined")
    if r >= GOOD_R:
        words = "the points lie on a line" if r >= 0.999 else "the points lie near a line"
    else:
        words = "the line of the points falls" if r <= -GOOD_R else "the points do not lie on a line"
    return Finding(measure="Pearson r", value=format_r(r), holds=r >= GOOD_R, words=words)


def _judge_rank(r: float) -> Finding:
    if math.isnan(r):
        return Finding(measure="Spearman r", value="undefined", holds=None, words="there is no order")
    words = "the order is right" if r >= GOOD_RANK else "the order is not right"
    return Finding(measure="Spearman r", value=format_r(r), holds=r >= GOOD_RANK, words=words)


def _judge_slope(slope: float) -> Finding:
    holds: bool | None = abs(slope - 1) <= GOOD_SLOPE
    if math.isnan(slope):
        holds, words = None, "the slope is undefined"
    elif holds:
        words = f"the scale is right to {format_share(abs(slope - 1))}"
    elif slope <= 0:
        words = "predictions have the wrong sign" if slope else "the changes do not follow the predictions"
    else:
        way, factor = ("small", slope) if slope > 1 else ("large", 1 / slope)
        words = f"predictions are too {way} by a factor of {format_number(factor)}"
    return Finding(measure="slope", value=format_slope(slope), holds=holds, words=words)


def _judge_intercept(intercept: float, largest_change: float) -> Finding:
    if math.isnan(intercept) or not largest_change:
        return Finding(
            measure="intercept", value=format_number(intercept), holds=None, words="a shift cannot be told"
        )
    holds = abs(intercept) / largest_change <= GOOD_INTERCEPT
    words = "nothing is shifted" if holds else f"predictions are shifted by {format_number(intercept)}"
    return Finding(measure="intercept", value=format_number(intercept), holds=holds, words=words)


def _judge_error(error: float, largest_change: float) -> Finding:
    if math.isnan(error) or not largest_change:
        return Finding(
            measure="largest error", value=format_number(error), holds=None, words="nothing changes at all"
        )
    share = error / largest_change
    words = f"the largest error is {format_share(share)} of the largest change"
    return Finding(
        measure="largest error", value=format_number(error), holds=share <= GOOD_ERROR, words=words
    )


def _sentence(names: Sequence[str], outcome: str) -> str:
    if len(names) == 1:
        return f"{names[0]} {outcome}"
    verb, rest = outcome.split(" ", 1)
    return f"{', '.join(names[:-1])} and {names[-1]} {PLURALS.get(verb, verb)} {rest}"
