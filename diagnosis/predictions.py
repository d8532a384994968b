"""Does a method predict the change that retraining finds? The one judge of the report page and of `diagnose`.

What first-order influence leaves out by its nature is told from what a wrong convention does by the leverage
of the points (`retrain.leverage`): a correct method falls short by it, point by point.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from diagnosis.limits import ERROR, FEWEST_POINTS, PEARSON, SLOPE
from diagnosis.measures import Pairs, measure
from diagnosis.verdict import Verdict
from plots.agreement import Agreement, agreement
from plots.numbers import format_number, format_share

PREDICTS = "predicts the change that retraining finds"
FIRST_ORDER = "predicts the change that retraining finds to first order, and what it misses is leverage"
ROUGHLY = "follows the change that retraining finds, but errs widely at some points"
ORDERS = "gets the order of the changes right, but not their size"
DOES_NOT = "does not predict the change that retraining finds"
DIVERGED = "has predictions that are not finite"
ONE_STEP = "gets the order of the groups right, but the size of changes only as well as one step from θ̂ can"
HEAVY = "agrees with retraining as far as points of such leverage can tell"
UNDECIDED = "cannot be judged by these points"
OUTCOMES: dict[str, bool | None] = {
    PREDICTS: True,
    FIRST_ORDER: True,
    ROUGHLY: False,
    ORDERS: False,
    DOES_NOT: False,
    DIVERGED: False,
    ONE_STEP: None,
    HEAVY: None,
    UNDECIDED: None,
}
"""Every outcome, and whether it is good, bad or undecided."""


@dataclass(frozen=True, kw_only=True)
class MethodVerdict:
    """What one method's panel shows."""

    method: str
    outcome: str
    """One of `OUTCOMES`."""
    findings: tuple[Verdict, ...]
    """One a measure, each with the number in `value` and what it means in `evidence`."""
    agreement: Agreement
    remedy: str
    baseline: bool
    """Whether the method is there for comparison: what it does is said, and nothing follows from it."""

    @property
    def passed(self) -> bool | None:
        """Good, bad or undecided; a baseline that does not predict is no fault."""
        state = OUTCOMES[self.outcome]
        return None if self.baseline and state is False else state

    @property
    def headline(self) -> str:
        """The outcome, and why."""
        state = OUTCOMES[self.outcome]
        reasons = [finding.evidence for finding in self.findings if finding.passed is state]
        return f"{self.outcome}: {'; '.join(reasons)}" if reasons else self.outcome

    def as_verdict(self) -> Verdict:
        """The same as one line of `diagnose`."""
        numbers = {name: getattr(self.agreement, name) for name in Agreement.__slots__}
        values = ", ".join(f"{finding.check} {finding.value}" for finding in self.findings)
        what = "a baseline, there for comparison: it " if self.baseline else ""
        return Verdict(
            check=f"predictions of {self.method}",
            passed=self.passed,
            evidence=f"{what}{self.headline} ({self.agreement.points} points: {values})",
            remedy="" if self.baseline else self.remedy,
            numbers=numbers | {"outcome": self.outcome, "baseline": self.baseline},
            counts=not self.baseline,
        )


def judge_method(
    method: str,
    pairs: Pairs,
    *,
    baseline: bool = False,
    factors: Mapping[str, float] | None = None,
    otherwise: str = "",
) -> MethodVerdict:
    """Judge how well predictions match the truth.

    Args:
        baseline: whether the method declares that it is there for comparison.
        factors: what may have been forgotten, by name, such as {"1/n": n}: named in the remedy where the
            slope is its inverse.
        otherwise: what to do where the truth itself differs from what is predicted, in place of a remedy for
            predictions of minima.
    """
    found = agreement(pairs.predicted, pairs.actual)
    findings = measure(found, pairs)
    outcome = _outcome(found, findings)
    if OUTCOMES[outcome] is False and outcome != DIVERGED:
        outcome, findings = _with_leverage(outcome, findings, pairs)
    if outcome == UNDECIDED:
        findings = tuple(replace(finding, passed=None) for finding in findings)
    return MethodVerdict(
        method=method,
        outcome=outcome,
        findings=findings,
        agreement=found,
        remedy=_remedy(outcome, found, pairs, factors or {}, otherwise),
        baseline=baseline,
    )


def _outcome(found: Agreement, findings: tuple[Verdict, ...]) -> str:
    line, order, slope, intercept, error = (finding.passed for finding in findings)
    if not math.isfinite(found.max_abs_error):
        return DIVERGED if found.points else UNDECIDED
    if found.points < FEWEST_POINTS:
        return UNDECIDED
    if math.isnan(found.pearson):
        # One side does not vary. An error that is large all the same speaks for itself.
        return DOES_NOT if error is False else UNDECIDED
    if all(finding.passed for finding in findings):
        return PREDICTS
    if not order:
        return DOES_NOT
    return ROUGHLY if line and slope and intercept else ORDERS


def _with_leverage(
    outcome: str, findings: tuple[Verdict, ...], pairs: Pairs
) -> tuple[str, tuple[Verdict, ...]]:
    """The outcome again, once what leverage does to a correct first-order prediction is taken into account.

    Good if the predictions, each times its own amplification, pass every limit. Undecided if every change
    lies between its prediction and that product, to within the limits of slope and error: where points weigh
    so much, neither end is the truth. Else it is as bad as it was.
    """
    heavy = float(pairs.amplification.max(initial=1.0))
    if heavy <= 1:
        return outcome, findings
    amplified = replace(pairs, predicted=pairs.predicted * pairs.amplification)
    corrected = measure(agreement(amplified.predicted, amplified.actual), amplified)
    if all(finding.passed for finding in corrected):
        return FIRST_ORDER, tuple(
            plain if plain.passed else _excused(plain, f"{better.evidence}, once leverage is counted in")
            for plain, better in zip(findings, corrected, strict=True)
        )
    if _matters(pairs) and _outside(pairs) <= ERROR * pairs.largest:
        words = f"leverage of up to {_heaviest(pairs)} may be why"
        return HEAVY, tuple(
            plain if plain.passed else _excused(plain, words, passed=None) for plain in findings
        )
    return outcome, findings


def _excused(finding: Verdict, words: str, passed: bool | None = True) -> Verdict:
    return replace(finding, passed=passed, evidence=f"{finding.evidence}; {words}")


def _matters(pairs: Pairs) -> bool:
    """Whether leverage makes more of any change than an error that is allowed; less excuses nothing."""
    grown = np.abs(pairs.predicted) * (pairs.amplification - 1)
    return float(grown.max()) > ERROR * pairs.largest


def _outside(pairs: Pairs) -> float:
    """How far the worst change lies outside what its prediction and leverage allow, in units of the loss."""
    ends = np.stack([pairs.predicted * (1 - SLOPE), pairs.predicted * pairs.amplification * (1 + SLOPE)])
    low, high = ends.min(axis=0), ends.max(axis=0)
    return float(np.maximum(np.maximum(low - pairs.actual, pairs.actual - high), 0.0).max())


def _remedy(
    outcome: str, found: Agreement, pairs: Pairs, factors: Mapping[str, float], otherwise: str
) -> str:
    """What to do about predictions that are not good; empty where there is nothing to do."""
    if outcome in (PREDICTS, FIRST_ORDER, UNDECIDED):
        return ""
    if outcome == DIVERGED:
        return "predictions that are not finite come from a solver that diverged: see what it said"
    if outcome == HEAVY:
        return "more examples or more L2 (model.l2) make a point weigh less, and a wrong factor be seen"
    forgotten = [name for name, factor in factors.items() if abs(found.slope * factor - 1) <= SLOPE]
    if forgotten:
        return f"predictions are {format_number(1 / found.slope)} times what happens: without {forgotten[0]}?"
    if found.pearson <= -PEARSON:
        return "the sign is turned: a removal is a step of −1/n, so the change is −I_up,loss/n"
    if otherwise:
        return otherwise
    if _matters(pairs) and found.slope > 0:
        return (
            f"points of a leverage of up to {_heaviest(pairs)} do more than first order predicts. Does "
            "--method exact fail alike? Then more examples or more model.l2, else more steps or less damping"
        )
    if found.pearson < PEARSON or math.isnan(found.pearson):
        return "these are not the influences of this θ̂ on this test point, or the noise in them is as large"
    if outcome == ROUGHLY:
        return "single points are off: look at them in the figure of errors and certificates"
    if found.slope < 1 - SLOPE:
        return "predictions are larger than what happens: a factor such as 1/n or LiSSA's 1/scale is missing"
    if found.slope > 1 + SLOPE:
        return (
            "predictions are smaller than what happens: too few steps of the solver, too much damping, or a "
            "mean taken twice"
        )
    return "every prediction is shifted: keep the L2 inside the train gradient and out of the test loss"


def _heaviest(pairs: Pairs) -> str:
    """The largest leverage, as a percentage."""
    return format_share(1 - 1 / float(pairs.amplification.max(initial=1.0)))
