"""The panels of the figure that is diagnosed: the methods computed so far, or the configured one, now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from diagnosis.figure import Method
from diagnosis.verdict import Verdict
from influence.estimator import RemovalEstimator, RemovalPredictor
from influence.lissa import LiSSA
from influence.solution import Solution, is_baseline
from repro.diagnosing.subject import Subject
from repro.errors import StageError
from repro.explaining import Question, by_removals, by_s_test
from repro.predictions import panel_order, select_rows
from repro.problem import make_solver
from repro.records.influence import InfluenceRecord, read_predicted, read_record
from repro.records.removals import as_stated
from repro.removal_predictions import Chosen, predict_removals
from retrain.removal import leave_one_out

LISSA = "influence.lissa.LiSSA"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One method's predictions for the test point."""

    method: Method
    lissa: LiSSA | None
    """Its settings, if it is LiSSA."""
    solution: Solution | None
    """s_test, if it was computed now."""
    rows: pd.DataFrame
    """Of the points that its panel shows: `train_index`, `predicted_change`, …. Empty if it failed."""


def stored_panels(subject: Subject) -> list[Panel]:
    """The methods that were computed at this θ̂ for this test point, as the page of this run shows them."""
    found = []
    for name in sorted(subject.folder.methods(), key=panel_order(subject.config)):
        if (known := read_predicted(subject.folder, name)) is None:
            continue
        record, table = known
        table = table[table["test_index"] == subject.target]
        if record.model_checksum == subject.model.key and len(table):
            found.append(_stored(subject, name, record, table))
    return found


def _stored(subject: Subject, name: str, record: InfluenceRecord, table: pd.DataFrame) -> Panel:
    method = Method(name=name, baseline=record.declares_baseline, factors=_factors(subject, record.settings))
    rows = _shown(subject, table)
    if subject.groups is None:
        rows = as_stated(subject.folder, record, rows)
    return Panel(method=method, lissa=_stored_lissa(record.settings), solution=None, rows=rows)


def must_be_computed(subject: Subject, stored: list[Panel], asked: bool) -> bool:
    """Whether the configured method has to be computed now: as nothing is stored, or not as it is asked for.

    Raises:
        StageError: it would be judged by groups that it has not predicted.
    """
    method, record = subject.config.method, read_record(subject.folder, subject.config.method)
    as_asked = record is not None and record.settings == subject.config.solver_settings
    if stored and (as_asked or not asked):
        return False
    if subject.groups is not None:
        again = subject.session.command("run", "--method", method)
        raise StageError(f"{method} has not predicted these groups as it is asked to. Run first: {again}")
    return True


def computed_panel(subject: Subject, report: Callable[[int, int], None]) -> tuple[Panel, Verdict | None]:
    """The configured method, computed now and not stored; and why not, if it failed.

    Raises:
        UsageError: its settings are wrong, or do not fit the model.
    """
    name, solver = subject.config.method, make_solver(subject.config)
    question = Question(
        method=name,
        risk=subject.risk,
        theta=subject.theta,
        curvature=subject.risk.curvature(subject.theta),
        targets=[subject.target],
        test=subject.test_point,
        tell=lambda found: report(int(found.done), int(found.total or 0)),
    )
    predictor = None
    if isinstance(solver, RemovalEstimator):
        (found,), predictor = by_removals(question, solver)
    else:
        (found,) = by_s_test(question, solver)
    failed = found.scores is None
    table = pd.DataFrame({"test_index": [], "train_index": [], "predicted_change": []})
    if not failed:
        table = _shown(subject, found.as_table(subject.session.dataset.y_train))
        if predictor is not None:
            table = _as_wholes(question, predictor, table)
    panel = Panel(
        method=Method(
            name=name,
            baseline=is_baseline(solver),
            factors=_factors(subject, subject.config.solver_settings),
        ),
        lissa=solver if isinstance(solver, LiSSA) else None,
        solution=found.solution,
        rows=table,
    )
    verdict = Verdict(check=f"solver of {name}", passed=False, evidence=found.message) if failed else None
    return panel, verdict


def _as_wholes(question: Question, predictor: RemovalPredictor, rows: pd.DataFrame) -> pd.DataFrame:
    """The points with what the method predicts of each as a removal: certified, it may be corrected."""
    points = leave_one_out(rows["train_index"].tolist())
    chosen = Chosen(removals={question.targets[0]: points}, scaling="mean")
    found = predict_removals(question, predictor, chosen).set_index("removal")["predicted_change"]
    return rows.assign(predicted_change=found.loc[rows["train_index"].astype(str)].to_numpy())


def _shown(subject: Subject, table: pd.DataFrame) -> pd.DataFrame:
    if subject.groups is not None:
        return table
    return select_rows(subject.config, table, [subject.target], subject.chosen)


def _factors(subject: Subject, settings: dict[str, Any]) -> dict[str, float]:
    """What a method may have forgotten, by name."""
    found = {"the factor 1/n": float(subject.risk.num_examples)}
    for key, words in (("scale", "the final 1/scale"), ("repeats", "the mean over the repeats")):
        value = settings.get(key)
        # A factor near 1 would be found in every slope that is right.
        if isinstance(value, int | float) and value > 1.5 and np.isfinite(value):
            found[words] = float(value)
    return found


def _stored_lissa(settings: dict[str, Any]) -> LiSSA | None:
    """The settings of a LiSSA that was computed; nothing that the folder names is imported for it."""
    if settings.get("_target_") != LISSA:
        return None
    try:
        return LiSSA(**{key: value for key, value in settings.items() if key != "_target_"})
    except (TypeError, ValueError):
        return None
