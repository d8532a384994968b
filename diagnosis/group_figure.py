"""Can the figure of groups of rows be believed? By the limits of single points, less what one step misses."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from pandas import DataFrame

from diagnosis.figure import FigureVerdict, Method, Retrained, as_pairs, truth_of
from diagnosis.limits import SLOPE
from diagnosis.predictions import ONE_STEP, ORDERS, ROUGHLY, MethodVerdict, judge_method
from diagnosis.truth import judge_truth
from plots.agreement import comparable

SECOND_ORDER = (
    "a sum of what single rows do leaves out what they do together, and that grows with the size of a group: "
    "r and slope against size show from which size on. --method newton_step takes the Hessian without the "
    "group"
)


def judge_groups(
    rows: DataFrame, retrained: Retrained, methods: Sequence[Method], wholes: Collection[str]
) -> FigureVerdict:
    """Judge the rows of one test point.

    Args:
        rows: of `groups.csv`, one per method and group.
        retrained: what is known of the models.
        methods: those to judge, in the order to say them in.
        wholes: names of methods that predict a group as a whole; the others sum what its members do.
    """
    found = []
    for method in methods:
        own = comparable(rows[rows["method"] == method.name])
        verdict = judge_method(
            method.name, as_pairs(own, np.ones(len(own))), baseline=method.baseline, factors=method.factors
        )
        found.append(_as_one_step(verdict, method.name in wholes))
    truth = judge_truth(truth_of(rows.drop_duplicates("removal"), retrained))
    return FigureVerdict(truth=truth, methods=tuple(found))


def _as_one_step(verdict: MethodVerdict, whole: bool) -> MethodVerdict:
    """The verdict on one step from θ̂, which is undecided where it errs as a right step does.

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
