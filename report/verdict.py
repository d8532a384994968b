"""How far can a method, and the truth it is judged by, be believed? In words for who knows only the paper."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pandas import DataFrame

from plots.agreement import Agreement
from plots.panel import format_r, format_slope

GOOD_R = 0.95
"""Below, the points no longer lie on a line."""
GOOD_SLOPE = 0.1
"""|slope − 1| up to which the scale is right; LiSSA with the paper's settings is within 0.07."""
GOOD_INTERCEPT = 0.01
"""|intercept| up to which nothing is shifted, as a share of the largest actual change."""
GOOD_ERROR = 0.1
"""Largest error that leaves the figure readable, as a share of the largest actual change."""
GOOD_UNDECIDED = 0.05
"""Share of the points whose actual change may be smaller than its certificate."""

PREDICTS = "predicts the change that retraining finds"
ORDERS = "gets the order of the changes right, but not their size"
DOES_NOT = "does not predict the change that retraining finds"
PLURALS = {"predicts": "predict", "gets": "get", "does": "do"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number, whether it is as it should be, and what it means."""

    measure: str
    value: str
    holds: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class MethodVerdict:
    """What one method's panel shows."""

    method: str
    title: str
    headline: str
    findings: tuple[Finding, ...]
    points: int
    seconds: float

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    @property
    def orders(self) -> bool:
        """Whether at least the order is right."""
        return self.findings[0].holds


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
        _judge_slope(agreement.slope),
        _judge_intercept(agreement.intercept, largest_change),
        _judge_error(agreement.max_abs_error, largest_change),
    )
    failed = [finding for finding in findings if not finding.holds]
    if math.isnan(agreement.pearson):
        headline = (
            "has no agreement to speak of: its predictions or the changes do not vary, or are not finite"
        )
    elif not failed:
        headline = PREDICTS
    else:
        outcome = ORDERS if findings[0].holds else DOES_NOT
        headline = f"{outcome}: " + "; ".join(finding.words for finding in failed)
    return MethodVerdict(
        method=method,
        title=title,
        headline=headline,
        findings=findings,
        points=agreement.points,
        seconds=seconds,
    )


def judge_truth(table: DataFrame, null_control: float, null_certificate: float) -> tuple[Finding, ...]:
    """Judge the retrained models themselves.

    Args:
        table: rows of one test point with `train_index`, `actual_change` and `certificate`.
        null_control: the change found when nothing is removed, which should be 0.
        null_certificate: bound on its error.
    """
    points = table.drop_duplicates("train_index")
    sizes = points["actual_change"].abs()
    undecided = int((sizes <= points["certificate"]).sum())
    largest = float(points["certificate"].max())
    typical = float(sizes.median())
    room = f", {_times(typical / largest)} less than the typical change" if typical > largest else ""
    return (
        Finding(
            measure="largest certificate",
            value=format_number(largest),
            holds=undecided <= GOOD_UNDECIDED * len(points),
            words=f"every actual change is known to within {format_number(largest)}{room}"
            + (f"; {undecided} of {len(points)} are too small to be told from 0" if undecided else ""),
        ),
        Finding(
            measure="null control",
            value=format_number(null_control),
            holds=abs(null_control) <= null_certificate,
            words=f"retraining with nothing removed changes the loss by {format_number(null_control)}, "
            f"its certificate being {format_number(null_certificate)}",
        ),
    )


def summarise(verdicts: list[MethodVerdict], truth: tuple[Finding, ...]) -> tuple[bool, str]:
    """Whether the figure can be believed, and a sentence that says so."""
    if not all(finding.holds for finding in truth):
        return False, "The retrained models are not known well enough to judge a method by."
    outcomes: dict[str, list[str]] = {PREDICTS: [], ORDERS: [], DOES_NOT: []}
    for verdict in verdicts:
        outcomes[PREDICTS if verdict.holds else ORDERS if verdict.orders else DOES_NOT].append(verdict.method)
    said = [_sentence(names, outcome) for outcome, names in outcomes.items() if names]
    return bool(outcomes[PREDICTS]), "; ".join(said) + "."


def format_number(value: float) -> str:
    """Two significant digits, with a true minus; small and large numbers as powers of ten."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    text = f"{value:.1e}" if exponent < -3 or exponent > 4 else f"{value:.2g}"
    return text.replace("-", "−")


def _judge_r(r: float) -> Finding:
    if not r >= GOOD_R:
        words = "the points do not lie on a line" if not math.isnan(r) else "r is undefined"
    elif r >= 0.999:
        words = "the points lie on a line"
    else:
        words = "the points lie near a line"
    return Finding(measure="Pearson r", value=format_r(r), holds=r >= GOOD_R, words=words)


def _judge_slope(slope: float) -> Finding:
    holds = abs(slope - 1) <= GOOD_SLOPE
    if math.isnan(slope):
        words = "the slope is undefined"
    elif holds:
        words = f"the scale is right to {abs(slope - 1):.1%}"
    elif slope <= 0:
        words = "predictions have the wrong sign"
    else:
        way, factor = ("small", slope) if slope > 1 else ("large", 1 / slope)
        words = f"predictions are too {way} by a factor of {factor:.2g}"
    return Finding(measure="slope", value=format_slope(slope), holds=holds, words=words)


def _judge_intercept(intercept: float, largest_change: float) -> Finding:
    share = abs(intercept) / largest_change if largest_change else math.nan
    holds = share <= GOOD_INTERCEPT
    words = "nothing is shifted" if holds else f"predictions are shifted by {format_number(intercept)}"
    return Finding(measure="intercept", value=format_number(intercept), holds=holds, words=words)


def _judge_error(error: float, largest_change: float) -> Finding:
    share = error / largest_change if largest_change else math.nan
    words = (
        "the largest error is undefined"
        if math.isnan(share)
        else (f"the largest error is {_percent(share)} of the largest change")
    )
    return Finding(
        measure="largest error", value=format_number(error), holds=share <= GOOD_ERROR, words=words
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if 0.095 <= share < 100 else f"{100 * share:.2g} %".replace(" %", "%")


def _times(factor: float) -> str:
    if factor >= 1e7:
        return f"{format_number(factor)} times"
    return f"{float(f'{factor:.1g}'):,.0f} times" if factor >= 2 else f"a factor of {factor:.1f}"


def _sentence(names: list[str], outcome: str) -> str:
    if len(names) == 1:
        return f"{names[0]} {outcome}"
    verb, rest = outcome.split(" ", 1)
    return f"{', '.join(names[:-1])} and {names[-1]} {PLURALS[verb]} {rest}"


def measures(verdicts: Sequence[MethodVerdict]) -> list[str]:
    """The names of the findings, in order, once each: the columns of the table."""
    return list(dict.fromkeys(finding.measure for verdict in verdicts for finding in verdict.findings))
