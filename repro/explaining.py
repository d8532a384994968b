"""What a method finds of each test point, before anything is written: by s_test, or removal by removal."""

import functools
import time
from dataclasses import dataclass, replace

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from erm.files import without_non_finite
from erm.risk import Curvature, EmpiricalRisk
from influence.estimator import RemovalEstimator, RemovalPredictor
from influence.scores import Scores, influence_scores, scores_of_changes
from influence.solution import Progress, Solution, Solve, Solver, Status, failure
from influence.without_rows import NotDefiniteError
from repro.errors import UsageError
from repro.listener import ProgressReport, Report
from repro.records.influence import SolutionRecord
from repro.user_code import solution_of

Examples = tuple[Float[Tensor, "t features"], Tensor]
"""Test examples without bias column, and their labels."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One test point: how the method ended, and the scores of all training points."""

    target: int
    status: Status = Status.FINISHED
    message: str = ""
    seconds: float
    scores: Scores | None = None
    """None where the method failed."""
    solution: Solution | None = None
    """s_test, of a method that solves for it."""
    l2_product: float | None = None

    def as_record(self) -> SolutionRecord:
        solution = self.solution
        solved = solution is not None and not solution.status.failed
        return SolutionRecord(
            test_index=self.target,
            status=str(self.status),
            message=self.message,
            seconds=self.seconds,
            norm=float(solution.value.norm()) if solution is not None and solved else None,
            l2_product=self.l2_product,
            relative_residual=None if solution is None else solution.relative_residual,
            hessian_vector_products=None if solution is None else solution.num_hvps,
            trace=[] if solution is None else without_non_finite(solution.trace),
            traced="" if solution is None else solution.traced,
        )

    def as_table(self, labels: object) -> pd.DataFrame:
        """The rows of influence/METHOD.csv."""
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


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a method: some test points at one θ̂."""

    method: str
    risk: EmpiricalRisk
    theta: Float[Tensor, " p"]
    curvature: Curvature
    targets: list[int]
    test: Examples
    tell: Report

    def progress(self, stage: str) -> Progress:
        """For a method to call; the listener hears of the stage."""
        return lambda done, total: self.tell(ProgressReport(stage=stage, done=done, total=total))


def by_s_test(question: Question, solver: Solver) -> list[Found]:
    """Prepare the solver once, then explain one test point after the other.

    Raises:
        UsageError: the solver's settings do not fit the model.
    """
    risk, theta, stage = question.risk, question.theta, "preparing"

    def report(done: int, total: int) -> None:
        question.progress(stage)(done, total)

    started = time.perf_counter()
    try:
        unchecked = solver.at(question.curvature, report)
    except ValueError as error:
        raise UsageError(f"{question.method}: {error}") from error
    solve: Solve = functools.partial(solution_of, unchecked, name=f"--method {question.method}")
    prepared = time.perf_counter() - started
    found = []
    for place, target in enumerate(question.targets):
        stage, started = f"test point {target}", time.perf_counter()
        x_test, y_test = (part[[place]] for part in question.test)
        solution = solve(risk.loss_gradient(theta, x_test, y_test)[0])
        scores = None if solution.status.failed else influence_scores(risk, theta, solution)
        found.append(
            Found(
                target=target,
                status=solution.status,
                message=solution.message,
                seconds=prepared + time.perf_counter() - started,
                scores=scores,
                solution=solution,
                l2_product=None if scores is None else float(risk.l2 * theta.dot(solution.value)),
            )
        )
    return found


def by_removals(
    question: Question, estimator: RemovalEstimator
) -> tuple[list[Found], RemovalPredictor | None]:
    """Every training point removed by itself; and what predicts removals, unless the method failed.

    Raises:
        UsageError: the method is not for this model.
    """
    started = time.perf_counter()
    try:
        predictor = estimator.at_fit(
            question.risk, question.theta, question.curvature, question.progress("every training point")
        )
        changes = predictor.points(*question.test)
    except ValueError as error:
        raise UsageError(f"{question.method}: {error}") from error
    except NotDefiniteError as error:
        seconds = time.perf_counter() - started
        ended = (Found(target=target, seconds=seconds) for target in question.targets)
        return [failed(one, question.theta, error) for one in ended], None
    seconds, message = time.perf_counter() - started, predictor.message
    return [
        Found(target=target, message=message, seconds=seconds, scores=scores_of_changes(own))
        for target, own in zip(question.targets, changes, strict=True)
    ], predictor


def failed(found: Found, theta: Float[Tensor, " p"], error: NotDefiniteError) -> Found:
    """The same test point, as a method failed on it that found a Hessian singular."""
    solution = failure(
        Status.SINGULAR, theta, evidence=str(error), remedy="add L2, such as `model.l2=0.01`, or more of it"
    )
    return replace(found, status=solution.status, message=solution.message, scores=None, solution=solution)
