"""`repro influence`: predict the change of a test loss for every training point, by one method."""

import functools
import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from cli.console import say, warn
from cli.progress import Bar, Standing, progress_bar
from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from influence.scores import Scores, influence_scores, most_influential
from influence.solution import Solution, Solve, Solver, Status, is_baseline
from parallel.group import Group
from repro.configuration.compose import Config
from repro.drawing.traces import draw_traces
from repro.errors import StageError, UsageError
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.problem import (
    load_dataset,
    load_model,
    make_risk,
    make_solver,
    not_converged,
    test_indices,
)
from repro.ranks import run_in_ranks
from repro.records.age import different_settings
from repro.records.influence import (
    COLUMNS,
    kept_predictions,
    read_record,
    read_table,
    write_failure,
    write_predictions,
)
from repro.sharded_curvature import sharded_curvature
from repro.user_code import naming_own_code, solution_of


def influence(config: Config) -> None:
    """Score every training point for each test point, and write the method's table and record.

    Processes of one run share out the explicit Hessian, the one thing here that takes long.

    Raises:
        StageError: θ̂ is missing, or the method failed; its record says why, and there is no table.
        UsageError: the method's settings do not fit the model.
    """
    arguments = ["influence", "--method", config.method, *config.overrides]
    with open_run_folder(config) as folder:
        run_in_ranks(config, arguments, lambda group, device: _predict(folder, config, group, device))


@naming_own_code()
def _predict(folder: RunFolder, config: Config, group: Group, device: torch.device) -> None:
    method = config.method
    dataset = load_dataset(config)
    solver = make_solver(config)
    risk = make_risk(config, dataset, device)
    model = load_model(folder, config, dataset, device)
    if not model.facts["converged"]:
        warn(not_converged(model.facts, config))
    targets = test_indices(config, dataset, risk, model.theta)
    earlier_solutions, earlier_table = _earlier(folder, config, model.key)
    with progress_bar(f"influence ({method})", shown=group.is_first) as bar:
        explained = _explain_all(risk, model.theta, dataset, targets, solver, method, bar, group)
    if not group.is_first:
        # All have computed the same; one speaks and writes.
        return
    failed = [found for found in explained if found.solution.status.failed]
    rows = [row for row in earlier_solutions if row["test_index"] not in targets]
    record = {
        "method": method,
        "settings": config.solver_settings,
        "baseline": is_baseline(solver),
        "model_checksum": model.key,
        "test_index": [*(row["test_index"] for row in rows), *targets],
        "solutions": [*rows, *(found.as_record() for found in explained)],
    }
    if failed:
        raise _failure(folder, config, record, failed[0].solution)
    draw_traces(folder, config, record)
    kept = earlier_table[~earlier_table["test_index"].isin(targets)]
    parts = [kept] if len(kept) else []
    write_predictions(folder, record, pd.concat([*parts, *(found.as_table(dataset) for found in explained)]))
    for found in explained:
        found.say(method, config.top_k)


def _failure(
    folder: RunFolder, config: Config, record: dict[str, Any], solution: Solution
) -> StageError | UsageError:
    """Record a failure, unless that cost an earlier result; what there is to say of it."""
    kept = kept_predictions(folder, record)
    write_failure(folder, record)
    if kept is None:
        draw_traces(folder, config, record)
    said = f"{config.method}: {solution.message}" + ("" if kept is None else _what_is_kept(record, kept))
    return UsageError(said) if solution.status is Status.REFUSED else StageError(said)


def _what_is_kept(record: dict[str, Any], kept: dict[str, Any]) -> str:
    different = different_settings(kept["settings"], record["settings"])
    made = f", made with {' '.join(different)}," if different else ""
    points = ", ".join(map(str, kept["test_index"]))
    return f"\nIts earlier predictions{made} are kept, for test point {points}"


@dataclass(frozen=True)
class Explained:
    """One test point's solution and the scores of all training points."""

    target: int
    solution: Solution
    scores: Scores | None
    seconds: float

    def as_record(self) -> dict[str, Any]:
        solution = self.solution
        return {
            "test_index": self.target,
            "status": solution.status,
            "message": solution.message,
            "seconds": self.seconds,
            "norm": None if solution.status.failed else float(solution.value.norm()),
            "relative_residual": solution.relative_residual,
            "hessian_vector_products": solution.num_hvps,
            "trace": solution.trace,
            "traced": solution.traced,
        }

    def as_table(self, dataset: Dataset) -> pd.DataFrame:
        assert self.scores is not None
        return pd.DataFrame(
            {
                "test_index": self.target,
                "train_index": range(len(dataset.y_train)),
                "label": dataset.y_train,
                "influence": self.scores.influence.cpu().numpy(),
                "predicted_change": self.scores.predicted_change.cpu().numpy(),
                "predicted_stderr": self.scores.predicted_stderr.cpu().numpy(),
            }
        )

    def say(self, method: str, top_k: int) -> None:
        assert self.scores is not None
        top = most_influential(self.scores.influence, top_k)
        strongest = self.scores.predicted_change[top].cpu()
        smallest, largest = float(strongest.abs().min()), float(strongest.abs().max())
        negative, positive = int((strongest < 0).sum()), int((strongest > 0).sum())
        say(
            f"{method}: test point {self.target}: {self.solution.message}\n"
            f"  top {len(top)} of {len(self.scores.influence)} predicted changes: "
            f"{smallest:.3g} to {largest:.3g} in absolute value, "
            f"{negative} negative, {positive} positive; {self.seconds:.1f} s",
            "predicted",
            method=method,
            test_index=self.target,
            relative_residual=self.solution.relative_residual,
            hessian_vector_products=self.solution.num_hvps,
            seconds=self.seconds,
            top_k=len(top),
            examples=len(self.scores.influence),
            smallest_change=smallest,
            largest_change=largest,
            negative=negative,
            positive=positive,
        )


def _explain_all(
    risk: EmpiricalRisk,
    theta: Tensor,
    dataset: Dataset,
    targets: list[int],
    solver: Solver,
    method: str,
    bar: Bar,
    group: Group,
) -> list[Explained]:
    """Prepare the solver once, then explain one test point after the other."""
    stage = "preparing"

    def report(done: int, total: int) -> None:
        bar.update(Standing(stage=stage, done=done, total=total))

    started = time.perf_counter()
    try:
        unchecked = solver.at(sharded_curvature(risk.curvature(theta), group), report)
    except ValueError as error:
        raise UsageError(f"{method}: {error}") from error
    solve: Solve = functools.partial(solution_of, unchecked, name=f"--method {method}")
    prepared = time.perf_counter() - started
    explained = []
    for target in targets:
        stage = f"test point {target}"
        explained.append(_explain(risk, theta, dataset, target, solve, prepared))
    return explained


def _explain(
    risk: EmpiricalRisk, theta: Tensor, dataset: Dataset, target: int, solve: Solve, prepared: float
) -> Explained:
    started = time.perf_counter()
    x, y = (torch.from_numpy(array[[target]]) for array in (dataset.x_test, dataset.y_test))
    solution = solve(risk.loss_gradient(theta, x, y)[0])
    scores = None if solution.status.failed else influence_scores(risk, theta, solution)
    return Explained(target, solution, scores, prepared + time.perf_counter() - started)


def _earlier(folder: RunFolder, config: Config, model_key: str) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """What the same method with the same settings has found for other test points: it is kept."""
    nothing: tuple[list[dict[str, Any]], pd.DataFrame] = [], pd.DataFrame(columns=list(COLUMNS))
    record = read_record(folder, config.method)
    if record is None:
        return nothing
    same = record["settings"] == config.solver_settings and record["model_checksum"] == model_key
    table = read_table(folder, record) if same else None
    return nothing if table is None else (record["solutions"], table)
