"""`repro compare`: every method at several settings against the exact solution: error, cost, what to use."""

import math
import shlex
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from cli.console import say, say_wrote, show
from cli.progress import Bar, Standing, progress_bar
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
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.problem import compute_device, load_dataset, load_model, make_risk, make_solver, test_indices
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


def compare(config: Config) -> None:
    """Measure every setting, print the table, write compare.csv and the figure.

    Raises:
        UsageError: a setting names no method, or a key that the method does not have.
        StageError: there is no exact solution to compare with.
    """
    entries = read_entries(config)
    train_unless_done(config)
    with open_run_folder(config) as folder:
        _compare(folder, config, entries)


@naming_own_code()
def _compare(folder: RunFolder, config: Config, entries: list[Entry]) -> None:
    question = _question(folder, config)
    rows: list[dict[str, Any]] = []
    with progress_bar("comparing") as bar:
        exact, truth = _reference(question, entries, bar, len(entries))
        for done, entry in enumerate(entries):
            stage = f"{entry.method} {entry.settings}".strip()
            bar.update(Standing(stage=stage, done=done + 1, total=len(entries) + 1, unit="settings"))
            found = truth if entry.solver == exact else question.ask(entry.solver)
            rows.append(_row(entry, question.test_index, found, truth))
            # Written as it grows, so that what was measured survives a kill.
            write_result(folder, folder.comparison, _as_table(rows).to_csv)
    figures = _draw(folder, config, _as_table(rows))
    _say(rows)
    say_wrote(folder.comparison, *figures)


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
    """The one that all have which have any: with another they would solve for something else."""
    dampings: set[float] = {entry.solver.damping for entry in entries if isinstance(entry.solver, Damped)}
    if len(dampings) > 1:
        raise UsageError(
            f"compare.settings: one damping for all, or they answer different questions; got {dampings}. "
            "Give it as influence.damping=…"
        )
    return dampings.pop() if dampings else 0.0


def _question(folder: RunFolder, config: Config) -> Question:
    device, dataset = compute_device(config), load_dataset(config)
    risk = make_risk(config, dataset, device)
    theta = load_model(folder, config, dataset, device).theta
    target = test_indices(config, dataset, risk, theta)[0]
    x, y = (torch.from_numpy(array[[target]]) for array in (dataset.x_test, dataset.y_test))
    return Question(risk=risk, theta=theta, v=risk.loss_gradient(theta, x, y)[0], test_index=target)


def _reference(question: Question, entries: list[Entry], bar: Bar, total: int) -> tuple[Solver, Measured]:
    """The exact solution, with the damping that the entries agree on."""
    damping = _damping(entries)
    few = question.risk.num_parameters <= LARGEST_EXPLICIT
    solver: Solver = Exact(damping=damping) if few else CG(damping=damping, tolerance=1e-12)
    bar.update(Standing(stage="the exact solution", total=total + 1, unit="settings"))
    truth = question.ask(solver)
    if truth.predicted_change is None:
        raise StageError(f"there is no exact solution to compare with. {truth.solution.message}")
    return solver, truth


def _row(entry: Entry, test_index: int, found: Measured, truth: Measured) -> dict[str, Any]:
    row = {
        "method": entry.method,
        "settings": entry.settings,
        "test_index": test_index,
        "status": str(found.solution.status),
        "seconds": found.seconds,
        "hessian_vector_products": found.solution.num_hvps,
    }
    if found.predicted_change is None:
        return row
    assert truth.predicted_change is not None
    s, exact = found.solution.value, truth.solution.value
    agreed = agreement(found.predicted_change.cpu().numpy(), truth.predicted_change.cpu().numpy())
    return row | {
        "s_test_error": float((s - exact).norm() / exact.norm()),
        "pearson": agreed.pearson,
        "slope": agreed.slope,
        "max_abs_error": agreed.max_abs_error,
    }


def family(method: str, settings: str) -> str:
    """What belongs to one line of the figure: the method and those settings that are not numbers."""
    return " ".join([method, *(text for text in settings.split() if not _is_number(text.split("=")[-1]))])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).set_index("method")


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


def _say(rows: list[dict[str, Any]]) -> None:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("setting", overflow="fold")
    for name in ("s_test error", "1 − r", "slope", "seconds", "HVPs"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cost = f"{row['seconds']:.2f}", f"{row['hessian_vector_products']:.1f}"
        quality = row["status"], "", ""
        if "s_test_error" in row:
            disagreement = max(0.0, 1 - row["pearson"])
            quality = f"{row['s_test_error']:.1e}", f"{disagreement:.1e}", f"{row['slope']:.4f}"
        shown.add_row(_label(row), *quality, *cost)
    show(shown, "comparison", rows)
    good = [row for row in rows if row.get("s_test_error", math.inf) <= GOOD_ERROR]
    if good:
        best = min(good, key=lambda row: row["seconds"])
        say(
            f"cheapest with s_test within {GOOD_ERROR:.0%} of exact: {_label(best)} "
            f"({best['seconds']:.2g} s)",
            "cheapest",
            **best,
        )


def _label(row: dict[str, Any]) -> str:
    return f"{row['method']} {row['settings']}".strip()
