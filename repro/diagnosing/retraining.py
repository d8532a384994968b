"""What retraining finds for the points of the figure, and the judge's word on it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from diagnosis.figure import FigureVerdict, Retrained, judge_figure
from diagnosis.leverage import amplification
from diagnosis.tolerance import tolerance_that_tells
from erm.softmax import SoftmaxRisk
from repro.diagnosing.panels import Panel
from repro.diagnosing.subject import Subject
from repro.solving import Task, solve_and_record, weight_cache
from retrain.certificate import loss_error_bound
from retrain.ground_truth import GroundTruth, ground_truth
from retrain.removal import NOTHING
from retrain.schedule import Progress
from retrain.weights import WeightCache

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


def judge_by_retraining(
    subject: Subject, risk: SoftmaxRisk, panels: list[Panel], report: Callable[[Progress], None]
) -> Judged:
    """Retrain without each point of the panels, with the configured settings, and judge as the page does.

    Raises:
        StageError: these models cannot be certified.
    """
    cache = weight_cache(subject.folder, subject.model_key)
    shown = sorted({int(index) for panel in panels for index in panel.rows["train_index"]})
    wanted = _affordable(shown, panels, cache)
    task = Task(subject.theta, subject.model_key, wanted)
    solve_and_record(subject.folder, subject.config, risk, task, subject.session.device, report)
    x, y = subject.test_point
    truth = ground_truth(
        risk, subject.theta, cache.parts([*wanted, NOTHING]), x, y.to(subject.session.device)
    )
    rows, norms = _rows(panels, truth), _gradient_norms(cache, wanted)
    nothing = int((truth.indices == NOTHING).argmax())
    retrained = Retrained(
        null_control=float(truth.actual_change[0, nothing]),
        null_certificate=float(truth.certificate[0, nothing]),
        models=len(norms),
        missed=sum(norm > subject.config["retrain"]["tolerance"] for norm in norms.values()),
        amplification=amplification(risk, subject.theta, cache.parts(wanted)),
    )
    verdict = judge_figure(rows, retrained, [panel.method for panel in panels])
    advice = "" if verdict.truth[0].passed is not False else _advice(subject, risk, rows, norms)
    return Judged(verdict=verdict, points=len(wanted), shown=len(shown), advice=advice)


def _affordable(shown: list[int], panels: list[Panel], cache: WeightCache) -> list[int]:
    """All points if few models are missing; else those that are there, and some of the missing."""
    known = {int(index) for part in cache.parts(shown) for index in part.indices}
    missing = [index for index in shown if index not in known]
    if len(missing) <= MOST_MODELS:
        return shown
    largest = pd.concat([panel.rows for panel in panels]).groupby("train_index")["predicted_change"]
    order = largest.apply(lambda changes: changes.abs().max()).loc[missing].sort_values().index.to_numpy()
    places = np.unique(np.linspace(0, len(order) - 1, MOST_MODELS).round().astype(int))
    return sorted({*(known & set(shown)), *(int(index) for index in order[places])})


def _rows(panels: list[Panel], truth: GroundTruth) -> pd.DataFrame:
    """The columns of `leave_one_out.csv` that the judge reads."""
    found = pd.DataFrame(
        {
            "train_index": truth.indices,
            "actual_change": truth.actual_change[0],
            "certificate": truth.certificate[0],
        }
    )
    predicted = pd.concat([panel.rows.assign(method=panel.method.name) for panel in panels])
    return predicted.merge(found, on="train_index", validate="many_to_one")


def _gradient_norms(cache: WeightCache, wanted: list[int]) -> dict[int, float]:
    return {
        int(index): float(norm)
        for part in cache.parts([*wanted, NOTHING])
        for index, norm in zip(part.indices, part.gradient_norms, strict=True)
    }


def _advice(subject: Subject, risk: SoftmaxRisk, rows: pd.DataFrame, norms: dict[int, float]) -> str:
    points = rows.drop_duplicates("train_index")
    features = risk.features(subject.test_point[0]).double()
    per_norm = float(loss_error_bound(features, features.new_tensor([1 / risk.l2]))[0, 0])
    tolerance = tolerance_that_tells(
        points["actual_change"].to_numpy(np.float64, copy=True),
        points["certificate"].to_numpy(np.float64, copy=True),
        np.array([norms[int(index)] for index in points["train_index"]]),
        per_norm,
    )
    if tolerance is not None and tolerance < subject.config["retrain"]["tolerance"]:
        return f"retrain.tolerance={tolerance:.0e} tells them from 0"
    told = rows[rows["actual_change"].abs() > rows["certificate"]].groupby("method").size()
    few = int(told.min()) if len(told) == rows["method"].nunique() else 0
    if few and subject.chosen is None:
        return f"top_k={few} shows about as many as can be told from 0"
    return "another test point, or training points of more influence: these change nothing that can be seen"
