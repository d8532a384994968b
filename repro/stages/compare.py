"""`repro compare`: every method at several settings against the exact solution: error and cost of each."""

import math
import shlex
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature, EmpiricalRisk
from influence.cg import CG
from influence.exact import Exact
from influence.scores import influence_scores
from influence.solution import Solution, Solver
from plots.agreement import agreement
from plots.cost import draw_cost
from repro.configuration.compose import Config, check_method_names, compose, compose_methods
from repro.drawing.figures import write_figure
from repro.errors import StageError, UsageError
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.listener import ProgressReport, Report
from repro.notices import note_wrote
from repro.problem import make_solver
from repro.session import Session
from repro.stages.train import train_unless_done
from repro.user_code import naming_own_code, solution_of

LARGEST_EXPLICIT = 10_000
"""Parameters up to which the Cholesky factor is the judge; above, CG to a residual of 1e-12."""
QUICK = 0.5
"""Seconds below which a measurement is repeated, up to `REPEATS` times."""
REPEATS = 5
GOOD_ERROR = 0.01
"""Relative error of s_test that is good enough for the figure."""
COLUMNS = (
    "method", "settings", "test_index", "status", "s_test_error", "pearson", "slope", "max_abs_error",
    "seconds", "hessian_vector_products",
)  # fmt: skip


@runtime_checkable
class Damped(Protocol):
    """A solver of (H + damping·I) s = v."""

    @property
    def damping(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method and what of its settings was asked for."""

    method: str
    settings: str
    solver: Solver


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a solver found, the changes it predicts for all training points, and the seconds for both."""

    solution: Solution
    predicted_change: Float[Tensor, " n"] | None
    """None when the solver failed."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Question:
    """One test point at one θ̂."""

    risk: EmpiricalRisk
    theta: Float[Tensor, " p"]
    v: Float[Tensor, " p"]
    """∇ℓ(z_test, θ̂)."""
    test_index: int

    def ask(self, solver: Solver) -> Measured:
        """From θ̂ to the predicted change of every training point, preparation included.

        What is quick is done again, and the median of its seconds taken: first calls are slow.
        """
        found = self._once(solver)
        seconds = [found.seconds]
        while sum(seconds) < QUICK and len(seconds) < REPEATS:
            seconds.append(self._once(solver).seconds)
        return replace(found, seconds=statistics.median(seconds))

    def _once(self, solver: Solver) -> Measured:
        started = time.perf_counter()
        curvature: Curvature = self.risk.curvature(self.theta)
        try:
            solution: Solution = solution_of(solver.at(curvature), self.v, type(solver).__name__)
        except ValueError as error:
            raise UsageError(str(error)) from error
        changes = None
        if not solution.status.failed:
            changes = influence_scores(self.risk, self.theta, solution).predicted_change
        return Measured(solution=solution, predicted_change=changes, seconds=time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class ComparedSetting:
    """What one setting of a method costs, and how far it is from the exact solution."""

    method: str
    settings: str
    test_index: int
    status: str
    s_test_error: float = math.nan
    """‖s − exact‖/‖exact‖; NaN, as what follows, where the solver failed."""
    pearson: float = math.nan
    """Of the predicted changes of all training points with the exact ones."""
    slope: float = math.nan
    max_abs_error: float = math.nan
    seconds: float
    """From θ̂ to the predicted change of every training point."""
    hessian_vector_products: float

    @property
    def name(self) -> str:
        """Method and settings."""
        return f"{self.method} {self.settings}".strip()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All settings, in the order asked for."""

    rows: list[ComparedSetting]

    @property
    def cheapest(self) -> ComparedSetting | None:
        """The quickest whose s_test is within `GOOD_ERROR` of the exact one."""
        good = [row for row in self.rows if row.s_test_error <= GOOD_ERROR]
        return min(good, key=lambda row: row.seconds, default=None)


def compare(session: Session) -> Comparison:
    """Measure every setting, write compare.csv and the figure.

    Raises:
        UsageError: a setting names no method, or a key that the method does not have.
        StageError: there is no exact solution to compare with.
    """
    entries = read_entries(session.config)
    train_unless_done(session)
    with session.opened() as folder:
        return _compare(session, folder, entries)


@naming_own_code()
def _compare(session: Session, folder: RunFolder, entries: list[Entry]) -> Comparison:
    question = _question(session)
    rows: list[ComparedSetting] = []
    with session.progress("comparing") as tell:
        exact, truth = _reference(question, entries, tell)
        for done, entry in enumerate(entries):
            stage = f"{entry.method} {entry.settings}".strip()
            tell(ProgressReport(stage=stage, done=done + 1, total=len(entries) + 1, unit="settings"))
            found = truth if entry.solver == exact else question.ask(entry.solver)
            rows.append(_row(entry, question.test_index, found, truth))
            # Written as it grows, so that what was measured survives a kill.
            write_result(folder, folder.comparison, _as_table(rows).to_csv)
    comparison = Comparison(rows=rows)
    figures = _draw(folder, session.config, _as_table(rows))
    session.listener.result(comparison)
    note_wrote(folder.comparison, *figures)
    return comparison


def read_entries(config: Config) -> list[Entry]:
    """What `compare.settings` asks for. Settings on the command line reach every method that has them.

    Raises:
        UsageError: a setting names no method, a key or value that it does not take, or a damping of its own.
    """
    words = [shlex.split(text) for text in config["compare"]["settings"]]
    if not all(words):
        raise UsageError("compare.settings: every entry starts with a method")
    methods = [first for first, *_ in words]
    check_method_names(methods)
    common = {found.method: found for found in compose_methods(list(config.overrides), methods)}
    entries = []
    for method, *settings in words:
        for text in settings:
            if text.split("=")[0] in ("test_index", "top_k"):
                raise UsageError(
                    f"compare.settings: {text} is no setting of a method; give it beside compare.settings"
                )
        overrides = [*common[method].overrides, *(f"influence.{text}" for text in settings)]
        solver = make_solver(compose(overrides, method))
        entries.append(Entry(method=method, settings=" ".join(settings), solver=solver))
    _damping(entries)
    return entries


def _damping(entries: list[Entry]) -> float:
    """The damping that all settings share: with another they would solve for something else."""
    dampings: set[float] = {entry.solver.damping for entry in entries if isinstance(entry.solver, Damped)}
    if len(dampings) > 1:
        raise UsageError(
            f"compare.settings: one damping for all, or they answer different questions; got {dampings}. "
            "Give it as influence.damping=…"
        )
    return dampings.pop() if dampings else 0.0


def _question(session: Session) -> Question:
    model = session.model()
    target = session.targets(model)[0]
    v = session.risk.loss_gradient(model.theta, *session.test_examples([target]))[0]
    return Question(risk=session.risk, theta=model.theta, v=v, test_index=target)


def _reference(question: Question, entries: list[Entry], tell: Report) -> tuple[Solver, Measured]:
    """The exact solution, with the damping that the entries agree on."""
    damping = _damping(entries)
    few = question.risk.num_parameters <= LARGEST_EXPLICIT
    solver: Solver = Exact(damping=damping) if few else CG(damping=damping, tolerance=1e-12)
    tell(ProgressReport(stage="the exact solution", total=len(entries) + 1, unit="settings"))
    truth = question.ask(solver)
    if truth.predicted_change is None:
        raise StageError(f"there is no exact solution to compare with. {truth.solution.message}")
    return solver, truth


def _row(entry: Entry, test_index: int, found: Measured, truth: Measured) -> ComparedSetting:
    row = ComparedSetting(
        method=entry.method,
        settings=entry.settings,
        test_index=test_index,
        status=str(found.solution.status),
        seconds=found.seconds,
        hessian_vector_products=found.solution.num_hvps,
    )
    if found.predicted_change is None:
        return row
    assert truth.predicted_change is not None
    s, exact = found.solution.value, truth.solution.value
    agreed = agreement(found.predicted_change.cpu().numpy(), truth.predicted_change.cpu().numpy())
    return replace(
        row,
        s_test_error=float((s - exact).norm() / exact.norm()),
        pearson=agreed.pearson,
        slope=agreed.slope,
        max_abs_error=agreed.max_abs_error,
    )


def family(method: str, settings: str) -> str:
    """What belongs to one line of the figure: the method and those settings that are not numbers."""
    return " ".join([method, *(text for text in settings.split() if not _is_number(text.split("=")[-1]))])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_table(rows: list[ComparedSetting]) -> pd.DataFrame:
    return pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS)).set_index("method")


def _draw(folder: RunFolder, config: Config, table: pd.DataFrame) -> list[Path]:
    families = [family(str(row.Index), str(row.settings)) for row in table.itertuples()]
    drawn = table.assign(family=families, disagreement=1 - table["pearson"])
    figure = draw_cost(
        drawn,
        {"s_test_error": "Relative error of s_test", "disagreement": "1 − r, over all training points"},
        good={"s_test_error": GOOD_ERROR},
        note="from θ̂ to the predicted change of every training point, judged by the exact solution",
    )
    return write_figure(folder, config, figure, "compare")
