"""`repro influence`: predict the change of a test loss for every training point, by one method."""

from dataclasses import dataclass
from typing import cast

import pandas as pd
import torch

from influence.estimator import RemovalEstimator
from influence.scores import most_influential
from influence.solution import Solver, Status, is_baseline
from influence.without_rows import NotDefiniteError
from parallel.group import Group
from repro.drawing.traces import draw_traces, remove_traces
from repro.errors import StageError, UsageError
from repro.explaining import Found, Question, by_removals, by_s_test, failed
from repro.folder.paths import RunFolder
from repro.model_file import TrainedModel, not_converged
from repro.notices import warn
from repro.problem import asks_for_minima, fit_to_a_minimum, make_solver
from repro.ranks import run_in_ranks
from repro.records.influence import (
    InfluenceRecord,
    SolutionRecord,
    as_read_back,
    different_settings,
    kept_predictions,
    read_predicted,
    write_failure,
    write_predictions,
)
from repro.records.removals import NO_REMOVALS, read_removals_of, write_removals
from repro.records.repeats import read_repeats, write_repeats
from repro.removal_predictions import chosen_removals, predict_removals, with_earlier
from repro.selection import chosen_groups, makes_groups, needs_model, top_k
from repro.session import Session
from repro.sharded_curvature import sharded_curvature
from repro.user_code import naming_own_code


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What a method predicts for one test point, in figures."""

    method: str
    record: SolutionRecord
    examples: int
    top_k: int
    smallest_change: float
    """The smallest |predicted change| of the `top_k` most influential training points."""
    largest_change: float
    negative: int
    """Of these, predicted changes below 0."""
    positive: int
    certified: int = 0
    """Predictions with a certificate of their own, by a method that predicts parameters."""
    max_certificate: float | None = None
    """The largest of theirs."""


def influence(session: Session) -> None:
    """Score every training point for each test point, and write the method's table and record.

    Processes of one run share out the explicit Hessian, the one thing here that takes long.

    Raises:
        StageError: θ̂ is missing, or the method failed; its record says why, and there is no table.
        UsageError: the method's settings do not fit the model.
    """
    config = session.config
    arguments = ["influence", "--method", config.method, *config.overrides]
    with session.opened() as folder:
        run_in_ranks(config, arguments, lambda group, device: _predict(session, folder, group, device))
        session.remember()


@naming_own_code()
def _predict(session: Session, folder: RunFolder, group: Group, device: torch.device) -> None:
    config, method = session.config, session.config.method
    # Refused before any work.
    num_top = top_k(config, len(session.dataset.y_train))
    solver, model = make_solver(config), session.model(device)
    estimates = isinstance(solver, RemovalEstimator)
    if estimates and makes_groups(config) and not needs_model(config):
        chosen_groups(config, session.dataset)
    # Where none is asked for, training has said what it ends at.
    if not model.facts.converged and asks_for_minima(config):
        warn(not_converged(model.facts, config, fit_to_a_minimum(session.risk, model.theta)))
    targets, risk = session.targets(model), session.risk_on(model.theta.device)
    with session.progress(f"influence ({method})", shown=group.is_first) as tell:
        question = Question(
            method=method,
            risk=risk,
            theta=model.theta,
            curvature=sharded_curvature(risk.curvature(model.theta), group),
            targets=targets,
            test=session.test_examples(targets),
            tell=tell,
        )
        found, removals = _explain(session, model, question, solver)
    if not group.is_first:
        # All have computed the same; one speaks and writes.
        return
    earlier = _earlier(folder, session, model.key)
    kept = [row for row in earlier[0].solutions if row.test_index not in targets] if earlier else []
    record = InfluenceRecord(
        method=method,
        settings=config.solver_settings,
        baseline=is_baseline(solver),
        predicts_removals=estimates,
        model_checksum=model.key,
        test_index=[*(row.test_index for row in kept), *targets],
        solutions=[*kept, *(one.as_record() for one in found)],
        table_checksum=None,
    )
    failures = [one for one in found if one.status.failed]
    if failures:
        raise _failure(folder, session, record, failures[0])
    remove_traces(folder, method)
    tables = [one.as_table(session.dataset.y_train) for one in found]
    repeats = {
        one.target: one.solution.repeats
        for one in found
        if one.solution is not None and one.solution.repeats is not None
    }
    all_removals = removals
    if earlier:
        before, table = earlier
        all_removals = with_earlier(removals, read_removals_of(folder, before))
        if kept:
            tables.insert(0, table[~table["test_index"].isin(targets)])
            repeats = read_repeats(folder, method, before.table_checksum) | repeats
    checksum = write_removals(folder, method, all_removals)
    record = record.model_copy(update={"removals_checksum": checksum})
    written = write_predictions(folder, record, pd.concat(tables))
    write_repeats(folder, method, written.table_checksum, repeats)
    for one in found:
        session.listener.result(_in_figures(one, method, num_top, removals))


def _in_figures(found: Found, method: str, num_top: int, removals: pd.DataFrame) -> Explained:
    assert found.scores is not None
    scores = found.scores
    top = most_influential(scores.influence, num_top)
    strongest = scores.predicted_change[top].cpu()
    certificates = removals.loc[removals["test_index"] == found.target, "predicted_certificate"].dropna()
    return Explained(
        method=method,
        record=found.as_record(),
        examples=len(scores.influence),
        top_k=len(top),
        smallest_change=float(strongest.abs().min()),
        largest_change=float(strongest.abs().max()),
        negative=int((strongest < 0).sum()),
        positive=int((strongest > 0).sum()),
        certified=len(certificates),
        max_certificate=float(certificates.max()) if len(certificates) else None,
    )


def _explain(
    session: Session, model: TrainedModel, question: Question, solver: object
) -> tuple[list[Found], pd.DataFrame]:
    """What the method finds of every test point, and what it predicts of removals, if it does so."""
    if not isinstance(solver, RemovalEstimator):
        return by_s_test(question, cast(Solver, solver)), NO_REMOVALS
    found, predictor = by_removals(question, solver)
    if predictor is None:
        return found, NO_REMOVALS
    influence = {
        one.target: as_read_back(one.scores.influence.cpu().double().numpy())
        for one in found
        if one.scores is not None
    }
    try:
        return found, predict_removals(question, predictor, chosen_removals(session, model, influence))
    except NotDefiniteError as error:
        return [failed(one, question.theta, error) for one in found], NO_REMOVALS


def _failure(
    folder: RunFolder, session: Session, record: InfluenceRecord, found: Found
) -> StageError | UsageError:
    """Record a failure, unless that cost an earlier result; what there is to say of it."""
    kept = kept_predictions(folder, record)
    write_failure(folder, record)
    if kept is None:
        draw_traces(folder, session.config, record)
    said = f"{record.method}: {found.message}" + ("" if kept is None else _what_is_kept(record, kept))
    return UsageError(said) if found.status is Status.REFUSED else StageError(said)


def _what_is_kept(record: InfluenceRecord, kept: InfluenceRecord) -> str:
    different = different_settings(kept.settings, record.settings)
    made = f", made with {' '.join(different)}," if different else ""
    points = ", ".join(map(str, kept.test_index))
    return f"\nIts earlier predictions{made} are kept, for test point {points}"


def _earlier(
    folder: RunFolder, session: Session, model_key: str
) -> tuple[InfluenceRecord, pd.DataFrame] | None:
    """What the same method with the same settings has found: that of other test points is kept."""
    known = read_predicted(folder, session.config.method)
    if known is None or known[0].settings != session.config.solver_settings:
        return None
    return known if known[0].model_checksum == model_key else None
