"""What retraining has found for the groups of the figure, and the judge's word on it."""

from collections.abc import Callable
from dataclasses import replace

from diagnosis.figure import Retrained, judge_figure
from diagnosis.predictions import MethodVerdict
from repro.diagnosing.panels import Panel
from repro.diagnosing.retraining import Judged, judge_by_retraining
from repro.diagnosing.subject import Subject
from repro.errors import StageError
from repro.group_agreement import JoinedGroups
from repro.retraining import retrainer_for_key
from retrain.retrainer import with_null_control
from retrain.settings import RetrainingProgress

SECOND_ORDER = (
    "a sum of influences is of first order, and large groups do more: r and slope against size say from "
    "which size on. --method newton_step takes the Hessian without the group"
)


def judge_figure_of(
    subject: Subject, panels: list[Panel], report: Callable[[RetrainingProgress], None]
) -> Judged:
    """Of groups, which are retrained already, or of points. Raises as `judge_by_retraining`."""
    if subject.groups is None:
        return judge_by_retraining(subject, panels, report)
    return _judge_groups(subject, subject.groups, panels)


def refuse_to_compute_groups(subject: Subject) -> None:
    """Raise StageError where a method would be judged by groups that it has not predicted."""
    if subject.groups is not None:
        method = subject.config.method
        again = subject.session.command("run", "--method", method)
        raise StageError(f"{method} has not predicted these groups as it is asked to. Run first: {again}")


def _judge_groups(subject: Subject, joined: JoinedGroups, panels: list[Panel]) -> Judged:
    """Judge predictions of groups as the page judges those of points; nothing is retrained."""
    config, found = subject.config, joined.summary[subject.target]
    retrainer = retrainer_for_key(subject.folder, config, subject.risk, subject.theta, subject.model_key)
    models = retrainer.models(with_null_control(joined.choice.removals))
    # A group stands where the judge knows points: its place in removals.json names it.
    rows = joined.table.rename(columns={"removal": "train_index"})
    rows = rows[rows["test_index"] == subject.target]
    retrained = Retrained(
        null_control=found.null_control,
        null_certificate=found.null_control_certificate,
        models=len(models),
        missed=len(models.missed(config["retrain"]["tolerance"])),
        amplification={},
    )
    records = {one.method: one.record for one in joined.choice.predictions}
    methods = [panel.method for panel in panels if panel.method.name in records]
    verdict = judge_figure(rows, retrained, methods)
    judged = tuple(
        one if records[one.method].predicts_groups else _with_remedy(one) for one in verdict.methods
    )
    groups = rows["train_index"].nunique()
    told = verdict.truth[0].passed is not False
    return Judged(
        verdict=replace(verdict, methods=judged),
        points=groups,
        shown=groups,
        advice="" if told else "a smaller retrain.tolerance makes certificates smaller",
    )


def _with_remedy(found: MethodVerdict) -> MethodVerdict:
    """Too small predictions are what first order does to groups; what is forgotten makes them too large."""
    short = found.passed is False and found.agreement.slope > 1
    return replace(found, remedy=SECOND_ORDER) if short else found
