"""What retraining has found for the groups of the figure, and the judge's word on it."""

from collections.abc import Callable

from diagnosis.figure import Retrained, judge_figure
from repro.diagnosing.panels import Panel
from repro.diagnosing.retraining import Judged, judge_by_retraining
from repro.diagnosing.subject import Subject
from repro.errors import StageError
from repro.group_agreement import JoinedGroups
from repro.retraining import retrain_settings, retrainer_for_key
from retrain.retrainer import with_null_control
from retrain.settings import RetrainingProgress


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
    """Judge predictions of groups as the page does; nothing is retrained."""
    config, found = subject.config, joined.summary[subject.target]
    retrainer = retrainer_for_key(subject.folder, config, subject.risk, subject.theta, subject.model_key)
    models = retrainer.models(with_null_control(joined.choice.removals))
    rows = joined.table[joined.table["test_index"] == subject.target]
    retrained = Retrained(
        null_control=found.null_control,
        null_certificate=found.null_control_certificate,
        models=len(models),
        missed=len(models.missed(retrain_settings(config).aim)),
        amplification={},
    )
    records = {one.method: one.record for one in joined.choice.predictions}
    methods = [panel.method for panel in panels if panel.method.name in records]
    wholes = {name for name, record in records.items() if record.predicts_groups}
    verdict = judge_figure(rows, retrained, methods, wholes)
    groups = rows["removal"].nunique()
    told = verdict.truth[0].passed is not False
    return Judged(
        verdict=verdict,
        points=groups,
        shown=groups,
        advice="" if told else "a smaller retrain.tolerance makes certificates smaller",
    )
