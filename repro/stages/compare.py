"""`repro compare`: every method at several settings against the exact solution: error and cost of each."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from influence.cg import CG
from influence.estimator import RemovalEstimator
from influence.exact import Exact
from influence.solution import Solver
from plots.agreement import Agreement, agreement
from plots.cost import draw_cost
from repro.compared_groups import KnownGroups, known_groups
from repro.compared_settings import MethodSettings, common_damping, read_settings
from repro.configuration.compose import Config
from repro.drawing.figures import write_figure
from repro.errors import StageError
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.listener import ProgressReport, Report
from repro.measuring import Measured, TestPointProblem
from repro.notices import note_wrote
from repro.session import Session
from repro.stages.train import train_unless_done
from repro.user_code import naming_own_code

LARGEST_EXPLICIT = 10_000
"""Parameters up to which the Cholesky factor is the judge; above, CG to a residual of 1e-12."""
GOOD_ERROR = 0.01
"""Relative error of s_test that is good enough for the figure."""
COLUMNS = (
    "method", "settings", "test_index", "status", "s_test_error", "pearson", "slope", "max_abs_error",
    "seconds", "hessian_vector_products", "groups_pearson", "groups_slope", "groups_max_abs_error",
)  # fmt: skip


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
    """From θ̂ to the predicted change of every training point, or of every group."""
    hessian_vector_products: float
    groups_pearson: float = math.nan
    """Of the predicted changes of the groups that `removals` makes with the actual ones."""
    groups_slope: float = math.nan
    groups_max_abs_error: float = math.nan

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
        StageError: there is no exact solution to compare with; or groups that were not retrained.
    """
    entries = read_settings(session.config)
    train_unless_done(session)
    with session.opened() as folder:
        return _compare(session, folder, entries)


@naming_own_code()
def _compare(session: Session, folder: RunFolder, entries: list[MethodSettings]) -> Comparison:
    problem, groups = _problem(session), known_groups(session)
    rows: list[ComparedSetting] = []
    with session.progress("comparing") as tell:
        exact, truth = _reference(problem, entries, tell)
        for done, entry in enumerate(entries):
            stage = f"{entry.method} {entry.settings}".strip()
            tell(ProgressReport(stage=stage, done=done + 1, total=len(entries) + 1, unit="settings"))
            rows.append(_row(entry, problem, groups, exact, truth))
            # Written as it grows, so that what was measured survives a kill.
            write_result(folder, folder.comparison, _as_table(rows).to_csv)
    comparison = Comparison(rows=rows)
    figures = _draw(folder, session.config, _as_table(rows), groups)
    session.listener.result(comparison)
    note_wrote(folder.comparison, *figures)
    return comparison


def _problem(session: Session) -> TestPointProblem:
    model = session.model()
    target = session.targets(model)[0]
    v = session.risk.loss_gradient(model.theta, *session.test_examples([target]))[0]
    return TestPointProblem(risk=session.risk, theta=model.theta, v=v, test_index=target)


def _reference(
    problem: TestPointProblem, entries: list[MethodSettings], tell: Report
) -> tuple[Solver, Measured]:
    """The exact solution, with the damping that the entries agree on."""
    damping = common_damping(entries)
    few = problem.risk.num_parameters <= LARGEST_EXPLICIT
    solver: Solver = Exact(damping=damping) if few else CG(damping=damping, tolerance=1e-12)
    tell(ProgressReport(stage="the exact solution", total=len(entries) + 1, unit="settings"))
    truth = problem.measure(solver)
    if truth.predicted_change is None:
        raise StageError(f"there is no exact solution to compare with. {truth.solution.message}")
    return solver, truth


def _row(
    entry: MethodSettings,
    problem: TestPointProblem,
    groups: KnownGroups | None,
    exact: Solver,
    truth: Measured,
) -> ComparedSetting:
    errors: dict[str, float] = {}
    products: float = 0
    if isinstance(entry.solver, RemovalEstimator):
        assert groups is not None
        of_groups, seconds = groups.by_removal(problem, entry.solver)
        status = "failed" if of_groups is None else "converged"
    else:
        found = truth if entry.solver == exact else problem.measure(entry.solver)
        status, products, seconds = str(found.solution.status), found.solution.num_hvps, found.seconds
        of_groups = None
        if found.predicted_change is not None:
            errors = _errors(found, truth)
            of_groups = None if groups is None else groups.by_sums(problem, found)
    return ComparedSetting(
        method=entry.method,
        settings=entry.settings,
        test_index=problem.test_index,
        status=status,
        seconds=seconds,
        hessian_vector_products=products,
        **errors,
        **({} if of_groups is None else _agreed(of_groups, "groups_")),
    )


def _errors(found: Measured, truth: Measured) -> dict[str, float]:
    """Of s_test, and of the predicted changes of all training points."""
    assert found.predicted_change is not None
    assert truth.predicted_change is not None
    s, exact = found.solution.value, truth.solution.value
    agreed = agreement(found.predicted_change.cpu().numpy(), truth.predicted_change.cpu().numpy())
    return {"s_test_error": float((s - exact).norm() / exact.norm())} | _agreed(agreed)


def _agreed(found: Agreement, prefix: str = "") -> dict[str, float]:
    return {f"{prefix}{name}": getattr(found, name) for name in ("pearson", "slope", "max_abs_error")}


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


def _draw(folder: RunFolder, config: Config, table: pd.DataFrame, groups: KnownGroups | None) -> list[Path]:
    families = [family(str(row.Index), str(row.settings)) for row in table.itertuples()]
    drawn = table.assign(family=families, disagreement=1 - table["pearson"])
    errors = {"s_test_error": "Relative error of s_test", "disagreement": "1 − r, over all training points"}
    note = "from θ̂ to the predicted change of every training point, judged by the exact solution"
    if groups is not None:
        drawn = drawn.assign(disagreement=1 - table["groups_pearson"])
        errors = {"groups_max_abs_error": "Largest error", "disagreement": "1 − r"}
        note = f"from θ̂ to predictions, judged by the certified changes of {len(groups.groups):,} groups"
    figure = draw_cost(drawn, errors, good={"s_test_error": GOOD_ERROR}, note=note)
    return write_figure(folder, config, figure, "compare")
