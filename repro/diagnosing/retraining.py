"""What retraining finds for the points or groups of the figure, and the judge's word on it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from diagnosis.figure import FigureVerdict, judge_figure
from diagnosis.truth import Retrained, tolerance_that_tells
from diagnosis.verdict import Verdict
from repro.agreement import actual_changes
from repro.diagnosing.panels import Panel
from repro.diagnosing.subject import Subject
from repro.group_agreement import JoinedGroups
from repro.retraining import RetrainingJob, make_retrainer, retrain_settings, solve_and_record
from retrain.changes import Changes
from retrain.choice import is_judgeable
from retrain.removal import leave_one_out
from retrain.retrainer import Retrainer, SolvedModels, with_null_control
from retrain.settings import RetrainingProgress

MOST_MODELS = 1000
"""Models that a diagnosis solves at the most; of more it takes so many, evenly spread by predicted effect."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The verdict, and by how many of the figure's points."""

    verdict: FigureVerdict
    points: int
    shown: int
    advice: str
    """What tells the effects from 0, where too many cannot be told; else empty."""


def no_truth(subject: Subject, found: list[Verdict]) -> str:
    """Why there are no leave-one-out models to judge by; empty where there are."""
    if any(verdict.check == "quadratic" and verdict.passed is False for verdict in found):
        return "the quadratic around θ̂ has no minimum, so there are no leave-one-out models to judge by"
    if not is_judgeable(subject.risk, retrain_settings(subject.config)):
        return "leave-one-out models can be certified with model.l2 > 0 only"
    return ""


def judge_figure_of(
    subject: Subject, panels: list[Panel], report: Callable[[RetrainingProgress], None]
) -> Judged:
    """Judge as the page does: points by models that are solved now, as configured; groups by those there are.

    Raises:
        StageError: these models cannot be certified.
    """
    retrainer = make_retrainer(subject.session, subject.model)
    if subject.groups is not None:
        return _judge_groups(subject, subject.groups, panels, retrainer)
    return _judge_points(subject, panels, retrainer, report)


def _judge_points(
    subject: Subject,
    panels: list[Panel],
    retrainer: Retrainer,
    report: Callable[[RetrainingProgress], None],
) -> Judged:
    shown = sorted({int(index) for panel in panels for index in panel.rows["train_index"]})
    points = _affordable(shown, panels, retrainer)
    job = RetrainingJob(subject.theta, subject.model.key, leave_one_out(points))
    solve_and_record(subject.folder, subject.config, retrainer, job, report)
    wanted = with_null_control(job.removals)
    truth, models = retrainer.changes(*subject.test_point, wanted), retrainer.models(wanted)
    rows, nothing = _rows(panels, subject.target, truth), truth.null_control
    retrained = Retrained(
        null_control=float(truth.actual_change[0, nothing]),
        null_certificate=float(truth.bound[0, nothing]),
        models=len(models),
        missed=_missed(subject, models),
        amplification=retrainer.amplification(wanted),
    )
    verdict = judge_figure(rows, retrained, [panel.method for panel in panels])
    advice = "" if verdict.truth[0].passed is not False else _advice(subject, retrainer, rows, models)
    return Judged(verdict=verdict, points=len(points), shown=len(shown), advice=advice)


def _judge_groups(
    subject: Subject, joined: JoinedGroups, panels: list[Panel], retrainer: Retrainer
) -> Judged:
    found, models = joined.summary[subject.target], retrainer.models(with_null_control(joined.removals))
    rows = joined.table[joined.table["test_index"] == subject.target]
    retrained = Retrained(
        null_control=found.null_control,
        null_certificate=found.null_control_certificate,
        models=len(models),
        missed=_missed(subject, models),
    )
    methods = [panel.method for panel in panels if panel.method.name in found.methods]
    verdict = judge_figure(rows, retrained, methods, joined.wholes)
    told = verdict.truth[0].passed is not False
    advice = "" if told else "a smaller retrain.tolerance makes certificates smaller"
    groups = rows["removal"].nunique()
    return Judged(verdict=verdict, points=groups, shown=groups, advice=advice)


def _missed(subject: Subject, models: SolvedModels) -> int:
    return len(models.missed(retrain_settings(subject.config).aim))


def _affordable(shown: list[int], panels: list[Panel], retrainer: Retrainer) -> list[int]:
    """All points if few models are missing; else those that are there, and some of the missing."""
    known = {rows[0] for rows in retrainer.models(leave_one_out(shown)).removals}
    missing = [index for index in shown if index not in known]
    if len(missing) <= MOST_MODELS:
        return shown
    largest = pd.concat([panel.rows for panel in panels]).groupby("train_index")["predicted_change"]
    order = largest.apply(lambda changes: changes.abs().max()).loc[missing].sort_values().index.to_numpy()
    places = np.unique(np.linspace(0, len(order) - 1, MOST_MODELS).round().astype(int))
    return sorted({*(known & set(shown)), *(int(index) for index in order[places])})


def _rows(panels: list[Panel], target: int, truth: Changes) -> pd.DataFrame:
    """The columns of `leave_one_out.csv` that the judge reads."""
    predicted = pd.concat([panel.rows.assign(method=panel.method.name) for panel in panels])
    found = actual_changes(truth, [target])
    return predicted.merge(found, on=["test_index", "train_index"], validate="many_to_one")


def _advice(subject: Subject, retrainer: Retrainer, rows: pd.DataFrame, models: SolvedModels) -> str:
    points = rows.drop_duplicates("train_index")
    norms = dict(zip(models.removals, models.gradient_norms.tolist(), strict=True))
    per_norm = float(retrainer.certificate_per_norm(subject.test_point[0])[0])
    tolerance = tolerance_that_tells(
        points["actual_change"].to_numpy(np.float64, copy=True),
        points["certificate"].to_numpy(np.float64, copy=True),
        np.array([norms[rows] for rows in leave_one_out(points["train_index"])]),
        per_norm,
    )
    if tolerance is not None and tolerance < subject.config["retrain"]["tolerance"]:
        return f"retrain.tolerance={tolerance:.0e} tells them from 0"
    told = rows[rows["actual_change"].abs() > rows["certificate"]].groupby("method").size()
    few = int(told.min()) if len(told) == rows["method"].nunique() else 0
    if few and subject.chosen is None:
        return f"top_k={few} shows about as many as can be told from 0"
    return "another test point, or training points of more influence: these change nothing that can be seen"
