"""`repro retrain`: solve every leave-one-out model that is asked for."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cli.compose import Config
from cli.console import Bar, progress_bar, say, warn
from cli.errors import StageError, UsageError
from cli.open_run import open_run_folder
from cli.predictions import read_predictions, selected_indices
from cli.problem import load_dataset, load_model, make_risk, test_indices
from cli.ranks import run_in_ranks
from cli.run_folder import RunFolder
from cli.selection import chosen_points
from erm.aligned import aligned
from erm.dataset import Dataset
from erm.softmax import SoftmaxRisk
from retrain import distributed
from retrain.preconditioner import PreconditionerError
from retrain.removal import NOTHING
from retrain.schedule import LeaveOneOutError, Progress, RetrainSettings, solve_missing
from retrain.weights import WeightCache

SOLVER_KEYS = ("tolerance", "precision", "batch_size", "shard")


@dataclass(frozen=True)
class Task:
    """What rank 0 reads from the run folder, and every rank works on."""

    theta: Tensor
    key: str
    indices: list[int]


def retrain(config: Config) -> None:
    """Retrain without each point, here, in processes of its own, or as a rank of a launched run.

    Raises:
        StageError: an earlier stage is missing, a process failed, or a model missed its tolerance.
        UsageError: more GPUs were asked for than there are.
    """
    with open_run_folder(config) as folder:
        arguments = ["retrain", *config.overrides]
        run_in_ranks(config, arguments, lambda device: _solve_and_say(folder, config, device))


def weight_cache(folder: RunFolder, key: str) -> WeightCache:
    """The run's leave-one-out weights."""
    return WeightCache(folder.weights, key, warn if distributed.rank() == 0 else lambda _: None)


def softmax_risk(config: Config, risk: object) -> SoftmaxRisk:
    """The risk, if it is one whose leave-one-out models can be solved and certified.

    Raises:
        StageError: it is another model.
    """
    if isinstance(risk, SoftmaxRisk):
        return risk
    raise StageError(
        f"model={config.choices['model']}: leave-one-out models are solved for softmax regression in closed "
        "form. Use model=logistic"
    )


def _solve_and_say(folder: RunFolder, config: Config, device: torch.device) -> None:
    dataset = load_dataset(config)
    # Examples that are shared out stay in host memory until each rank takes its own.
    home = torch.device("cpu") if config["retrain"]["shard"] == "data" else device
    risk = softmax_risk(config, make_risk(config, dataset, home))
    task = _read_task(folder, config, dataset, risk)
    cache = weight_cache(folder, task.key)
    settings = RetrainSettings(**{key: config["retrain"][key] for key in SOLVER_KEYS})
    started = time.perf_counter()
    with progress_bar("retraining") as bar:
        try:
            solved = solve_missing(risk, task.theta, task.indices, cache, settings, _show(bar), device=device)
        except (LeaveOneOutError, PreconditionerError) as error:
            raise StageError(str(error)) from error
    if distributed.rank() == 0:
        _say_result(task.indices, cache, solved, time.perf_counter() - started, settings.tolerance)


def _read_task(folder: RunFolder, config: Config, dataset: Dataset, risk: SoftmaxRisk) -> Task:
    """What there is to do, from the run folder of rank 0: ranks on other machines have none.

    Raises:
        StageError: an earlier stage is missing; on rank 0, which speaks for all.
    """
    task: Task | None = None
    problem: StageError | UsageError | None = None
    if distributed.rank() == 0:
        try:
            model = load_model(folder, config, dataset, risk.x.device)
            chosen = chosen_points(config, risk.num_examples)
            if chosen is None:
                targets = test_indices(config, dataset, risk, model.theta)
                chosen = selected_indices(read_predictions(folder, config, model.key, targets, None))
            task = Task(model.theta.cpu(), model.key, chosen)
        except (StageError, UsageError) as error:
            problem = error
    task = distributed.from_first_rank(task)
    if problem is not None:
        raise problem
    if task is None:
        raise SystemExit(1)
    return Task(aligned(task.theta, like=risk.x), task.key, task.indices)


def _show(bar: Bar) -> Callable[[Progress], None]:
    stages: list[str] = []

    def report(progress: Progress) -> None:
        if distributed.rank() != 0:
            return
        if stages[-1:] != [progress.stage]:
            # The set-up is no measure of how long the models will take.
            stages.append(progress.stage)
            bar.restart()
        bar.update(progress.models_done, progress.models_total, f"{progress.stage}: {progress.detail}")

    return report


def _say_result(
    indices: list[int], cache: WeightCache, solved: int, seconds: float, tolerance: float
) -> None:
    count = passes = 0
    largest, missed = 0.0, []
    for part in cache.parts([*indices, NOTHING]):
        count, passes = count + len(part.indices), passes + int(part.passes.sum())
        largest = max(largest, float(part.gradient_norms.max()))
        missed += part.indices[part.gradient_norms > tolerance].tolist()
    say(
        f"{len(indices)} leave-one-out models and the null control: {solved} solved now in {seconds:.1f} s, "
        f"{count - solved} from {cache.folder}"
    )
    say(
        f"largest gradient norm {largest:.1e} (tolerance {tolerance:.0e}), "
        f"{passes / count:.1f} passes over the data a model"
    )
    if missed:
        raise StageError(
            f"{len(missed)} models did not reach retrain.tolerance={tolerance:g}, first training index "
            f"{min(missed)}. Their certificates say by how much they may be off; more model.l2 helps"
        )
