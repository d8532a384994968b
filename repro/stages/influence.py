"""`repro influence`: predict the change of a test loss for every training point, by one method."""

import functools
import time
from dataclasses import dataclass

import pandas as pd
import torch

from erm.files import without_non_finite
from influence.scores import Scores, influence_scores, most_influential
from influence.solution import Solution, Solve, Solver, Status, is_baseline
from parallel.group import Group
from repro.drawing.traces import draw_traces, remove_traces
from repro.errors import StageError, UsageError
from repro.folder.paths import RunFolder
from repro.listener import ProgressReport, Report
from repro.model_file import TrainedModel, not_converged
from repro.notices import warn
from repro.problem import fit_to_a_minimum, make_solver
from repro.ranks import run_in_ranks
from repro.records.age import different_settings
from repro.records.influence import (
    COLUMNS,
    InfluenceRecord,
    SolutionRecord,
    kept_predictions,
    read_record,
    read_table,
    write_failure,
    write_predictions,
)
from repro.records.repeats import Repeats, read_repeats, write_repeats
from repro.selection import top_k
from repro.session import Session
from repro.sharded_curvature import sharded_curvature
from repro.user_code import naming_own_code, solution_of


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
    if not model.facts.converged:
        warn(not_converged(model.facts, config, fit_to_a_minimum(session.risk, model.theta)))
    targets = session.targets(model)
    with session.progress(f"influence ({method})", shown=group.is_first) as tell:
        found = _explain_all(session, model, targets, solver, tell, group)
    if not group.is_first:
        # All have computed the same; one speaks and writes.
        return
    earlier, earlier_table = _earlier(folder, session, model.key)
    kept = [row for row in earlier if row.test_index not in targets]
    record = InfluenceRecord(
        method=method,
        settings=config.solver_settings,
        baseline=is_baseline(solver),
        model_checksum=model.key,
        test_index=[*(row.test_index for row in kept), *targets],
        solutions=[*kept, *(one.as_record() for one in found)],
        table_checksum=None,
    )
    failed = [one for one in found if one.solution.status.failed]
    if failed:
        raise _failure(folder, session, record, failed[0].solution)
    remove_traces(folder, method)
    others = earlier_table[~earlier_table["test_index"].isin(targets)]
    parts = [others] if len(others) else []
    labels = session.dataset.y_train
    repeats = _earlier_repeats(folder, method) if kept else {}
    repeats |= {one.target: one.solution.repeats for one in found if one.solution.repeats is not None}
    written = write_predictions(folder, record, pd.concat([*parts, *(one.as_table(labels) for one in found)]))
    write_repeats(folder, method, written.table_checksum, repeats)
    for one in found:
        session.listener.result(one.in_figures(method, num_top))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """One test point's solution and the scores of all training points."""

    target: int
    solution: Solution
    scores: Scores | None
    seconds: float
    l2_product: float | None

    def as_record(self) -> SolutionRecord:
        solution = self.solution
        return SolutionRecord(
            test_index=self.target,
            status=str(solution.status),
            message=solution.message,
            seconds=self.seconds,
            norm=None if solution.status.failed else float(solution.value.norm()),
            l2_product=self.l2_product,
            relative_residual=solution.relative_residual,
            hessian_vector_products=solution.num_hvps,
            trace=without_non_finite(solution.trace),
            traced=solution.traced,
        )

    def as_table(self, labels: object) -> pd.DataFrame:
        assert self.scores is not None
        influence = self.scores.influence.cpu().numpy()
        return pd.DataFrame(
            {
                "test_index": self.target,
                "train_index": range(len(influence)),
                "label": labels,
                "influence": influence,
                "predicted_change": self.scores.predicted_change.cpu().numpy(),
                "predicted_stderr": self.scores.predicted_stderr.cpu().numpy(),
            }
        )

    def in_figures(self, method: str, num_top: int) -> Explained:
        assert self.scores is not None
        top = most_influential(self.scores.influence, num_top)
        strongest = self.scores.predicted_change[top].cpu()
        return Explained(
            method=method,
            record=self.as_record(),
            examples=len(self.scores.influence),
            top_k=len(top),
            smallest_change=float(strongest.abs().min()),
            largest_change=float(strongest.abs().max()),
            negative=int((strongest < 0).sum()),
            positive=int((strongest > 0).sum()),
        )


def _explain_all(
    session: Session, model: TrainedModel, targets: list[int], solver: Solver, tell: Report, group: Group
) -> list[_Found]:
    """Prepare the solver once, then explain one test point after the other."""
    method, stage = session.config.method, "preparing"
    risk, theta = session.risk_on(model.theta.device), model.theta

    def report(done: int, total: int) -> None:
        tell(ProgressReport(stage=stage, done=done, total=total))

    def explain(target: int) -> _Found:
        started = time.perf_counter()
        solution = solve(risk.loss_gradient(theta, *session.test_examples([target]))[0])
        scores = None if solution.status.failed else influence_scores(risk, theta, solution)
        seconds = prepared + time.perf_counter() - started
        return _Found(
            target=target,
            solution=solution,
            scores=scores,
            seconds=seconds,
            l2_product=None if solution.status.failed else float(risk.l2 * theta.dot(solution.value)),
        )

    started = time.perf_counter()
    try:
        unchecked = solver.at(sharded_curvature(risk.curvature(theta), group), report)
    except ValueError as error:
        raise UsageError(f"{method}: {error}") from error
    solve: Solve = functools.partial(solution_of, unchecked, name=f"--method {method}")
    prepared = time.perf_counter() - started
    found = []
    for target in targets:
        stage = f"test point {target}"
        found.append(explain(target))
    return found


def _failure(
    folder: RunFolder, session: Session, record: InfluenceRecord, solution: Solution
) -> StageError | UsageError:
    """Record a failure, unless that cost an earlier result; what there is to say of it."""
    kept = kept_predictions(folder, record)
    write_failure(folder, record)
    if kept is None:
        draw_traces(folder, session.config, record)
    said = f"{record.method}: {solution.message}" + ("" if kept is None else _what_is_kept(record, kept))
    return UsageError(said) if solution.status is Status.REFUSED else StageError(said)


def _what_is_kept(record: InfluenceRecord, kept: InfluenceRecord) -> str:
    different = different_settings(kept.settings, record.settings)
    made = f", made with {' '.join(different)}," if different else ""
    points = ", ".join(map(str, kept.test_index))
    return f"\nIts earlier predictions{made} are kept, for test point {points}"


def _earlier_repeats(folder: RunFolder, method: str) -> Repeats:
    """Those of the test points that the table has now."""
    record = read_record(folder, method)
    return {} if record is None else read_repeats(folder, method, record.table_checksum)


def _earlier(
    folder: RunFolder, session: Session, model_key: str
) -> tuple[list[SolutionRecord], pd.DataFrame]:
    """What the same method with the same settings has found for other test points: it is kept."""
    nothing: tuple[list[SolutionRecord], pd.DataFrame] = [], pd.DataFrame(columns=list(COLUMNS))
    record = read_record(folder, session.config.method)
    if record is None:
        return nothing
    same = record.settings == session.config.solver_settings and record.model_checksum == model_key
    table = read_table(folder, record) if same else None
    return nothing if table is None else (record.solutions, table)
