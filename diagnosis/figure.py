"""Can the figure of one test point be believed? Truth and methods together, for page and `diagnose`.

Groups of rows have the limits of single points, less what one step from θ̂ misses.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pandas import DataFrame

from diagnosis.limits import SLOPE
from diagnosis.measures import Pairs
from diagnosis.predictions import ONE_STEP, ORDERS, OUTCOMES, ROUGHLY, MethodVerdict, judge_method
from diagnosis.truth import Retrained, Truth, judge_truth
from diagnosis.verdict import Verdict, conclude
from plots.agreement import NO_BASIN, OTHER_BASINS, QUADRATIC, comparable

PLURALS = {"does": "do", "has": "have"}
"""Of verbs that do more than lose an s."""
SECOND_ORDER = (
    "a sum of what single rows do leaves out what they do together, and that grows with the size of a group: "
    "r and slope against size show from which size on. --method newton_step takes the Hessian without the "
    "group"
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """What the judge has to know of a method beside its points."""

    name: str
    baseline: bool = False
    """Whether it declares that it is there for comparison."""
    factors: Mapping[str, float] | None = None
    """What may have been forgotten, by name: see `judge_method`."""


@dataclass(frozen=True, kw_only=True)
class FigureVerdict:
    """What the figure of one test point is worth."""

    truth: tuple[Verdict, ...]
    methods: tuple[MethodVerdict, ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The truth's, one per method, and that on the figure as a whole."""
        methods = (method.as_verdict() for method in self.methods)
        return (*self.truth, *methods, Verdict(check="figure", passed=self.passed, evidence=self.summary))

    @property
    def passed(self) -> bool | None:
        """Good when truth and every method that is no baseline are; bad when one is bad; else undecided."""
        parts = (conclude(self.truth), conclude(method.as_verdict() for method in self.methods))
        return False if False in parts else None if None in parts else True

    @property
    def summary(self) -> str:
        """A sentence for who knows only the paper."""
        known = conclude(self.truth)
        if known is False:
            return "The retrained models are not known well enough to judge a method by."
        if known is None:
            return "Leaving out these points changes nothing, so there is nothing to judge a method by."
        return "; ".join(_sentences(self.methods)) + "."


def judge_figure(
    rows: DataFrame, retrained: Retrained, methods: Sequence[Method], wholes: Collection[str] = ()
) -> FigureVerdict:
    """Judge the rows of one test point.

    Args:
        rows: of `leave_one_out.csv`, one per method and training point, or of `groups.csv`.
        methods: those to judge, in the order to say them in.
        wholes: of groups, names of methods that predict each as a whole; the others sum what its members do.
    """
    key = _key(rows)
    truth = truth_of(rows.drop_duplicates(key), retrained)
    found = []
    for method in methods:
        verdict = judge_method(
            method.name,
            pairs_of(comparable(rows[rows["method"] == method.name]), retrained.amplification),
            baseline=method.baseline,
            factors=method.factors,
            otherwise="" if key == "removal" else _why_off(truth),
        )
        found.append(_as_one_step(verdict, method.name in wholes) if key == "removal" else verdict)
    return FigureVerdict(truth=judge_truth(truth), methods=tuple(found))


def _key(rows: DataFrame) -> str:
    """The column that names what a row leaves out, a group or a point."""
    return "removal" if "removal" in rows else "train_index"


def _as_one_step(verdict: MethodVerdict, whole: bool) -> MethodVerdict:
    """The verdict on groups by one step from θ̂, which is undecided where it errs as a right step does.

    The sum of what members do falls short of what a large group does, so that changes exceed it; a step that
    sees the group itself has their scale. A sign that is turned, a wrong order or predictions that are too
    large are as bad as they are for single points.
    """
    slope = verdict.agreement.slope
    as_a_step = abs(slope - 1) <= SLOPE if whole else slope > 1
    if verdict.baseline or verdict.outcome not in (ROUGHLY, ORDERS) or not as_a_step:
        return verdict
    findings = tuple(
        finding if finding.passed else replace(finding, passed=None) for finding in verdict.findings
    )
    return replace(verdict, outcome=ONE_STEP, findings=findings, remedy="" if whole else SECOND_ORDER)


def _why_off(truth: Truth) -> str:
    """What to do about predictions that are off where models are no minima of the risk; else empty."""
    if truth.uncertified:
        return (
            "predictions are of minima, and these models are where training went on to: fit=local "
            "retrain=default compares with minima"
        )
    if truth.quadratic:
        return (
            "predictions take gradients at θ̂, and this truth is at the minimum of the quadratic: they come "
            "together as ∇R(θ̂) shrinks, by training further, where influence.damping is retrain.damping"
        )
    return ""


def truth_of(rows: DataFrame, retrained: Retrained) -> Truth:
    """The actual changes of a table, one row for each removal, and what vouches for them."""
    local = "truth" in rows and not rows["truth"].isin(NO_BASIN).all()
    return Truth(
        **vars(retrained),
        actual=rows["actual_change"].to_numpy(np.float64, copy=True),
        certificate=rows["certificate"].to_numpy(np.float64, copy=True),
        margin=float(rows["margin"].min()) if local else None,
        others={name: int((rows["truth"] == name).sum()) for name in OTHER_BASINS} if local else {},
        quadratic="truth" in rows and bool((rows["truth"] == QUADRATIC).all()),
    )


def measures(methods: Sequence[MethodVerdict]) -> list[str]:
    """The names of the findings, in order, once each: the columns of the table."""
    return list(dict.fromkeys(finding.check for method in methods for finding in method.findings))


def pairs_of(rows: DataFrame, amplification: Mapping[int, float]) -> Pairs:
    """The columns predicted_change, actual_change and certificate, and what leverage is known of the rows."""
    factors = np.array([amplification.get(int(index), 1.0) for index in rows[_key(rows)]], np.float64)
    columns = ("predicted_change", "actual_change", "certificate")
    predicted, actual, certificate = (rows[name].to_numpy(np.float64, copy=True) for name in columns)
    return Pairs(predicted=predicted, actual=actual, certificate=certificate, amplification=factors)


def _sentences(methods: Sequence[MethodVerdict]) -> list[str]:
    """One for each outcome that occurs, best first; baselines after those that are judged."""
    said = []
    for baseline in (False, True):
        for outcome in OUTCOMES:
            names = [
                found.method for found in methods if (found.baseline, found.outcome) == (baseline, outcome)
            ]
            if names:
                said.append(_sentence(names, outcome, baseline))
    return said


def _sentence(names: Sequence[str], outcome: str, baseline: bool) -> str:
    if len(names) == 1:
        return f"{names[0]}{', a baseline,' if baseline else ''} {outcome}"
    verb, rest = outcome.split(" ", 1)
    who = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{who}{', baselines,' if baseline else ''} {PLURALS.get(verb, verb.removesuffix('s'))} {rest}"
