"""`repro retrain`: solve every leave-one-out model that is asked for."""

import socket
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cli.compose import Config
from cli.console import say, warn
from cli.errors import StageError, UsageError
from cli.open_run import open_run_folder
from cli.predictions import read_predictions, selected_indices
from cli.problem import load_dataset, load_model, make_risk, test_indices
from cli.progress import Standing, progress_bar
from cli.ranks import run_in_ranks
from cli.retrain_record import append_run
from cli.run_folder import RunFolder
from cli.selection import chosen_points
from erm.aligned import aligned
from erm.dataset import Dataset
from erm.softmax import SoftmaxRisk
from retrain import distributed
from retrain.removal import NOTHING
from retrain.schedule import LeaveOneOutError, Progress, RetrainSettings, Solved, solve_missing
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
    with progress_bar("retraining", shown=distributed.rank() == 0) as bar:
        try:
            solved = solve_missing(
                risk,
                task.theta,
                task.indices,
                cache,
                settings,
                lambda progress: bar.update(_standing(progress)),
                device=device,
            )
        except LeaveOneOutError as error:
            raise StageError(str(error)) from error
    if distributed.rank() == 0:
        stored = _stored(task.indices, cache, solved, settings.tolerance)
        seconds = time.perf_counter() - started
        entry = _entry(task, settings, stored, solved, seconds, device) if solved.indices else None
        append_run(folder, entry)
        _say_result(stored, cache, seconds, settings.tolerance)


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
        raise _naming_machine(problem)
    if task is None:
        raise SystemExit(1)
    return Task(aligned(task.theta, like=risk.x), task.key, task.indices)


def _naming_machine(problem: StageError | UsageError) -> StageError | UsageError:
    """The problem, and in a run on several machines whose run folder it is about."""
    if distributed.num_ranks() == distributed.ranks_here():
        return problem
    return type(problem)(
        f"{problem}\nProcess 0 of this run, which reads the run folder, is on {socket.gethostname()}: all "
        "machines have to see the folder, or have a copy of it"
    )


def _standing(progress: Progress) -> Standing:
    """Progress of rank 0's share, as it is shown."""
    standing = Standing(
        stage=progress.stage,
        done=progress.models_done,
        total=progress.models_total or None,
        unit="models",
    )
    if progress.last_pass is None:
        return standing
    return replace(
        standing,
        passes=progress.last_pass.number,
        num_models=progress.last_pass.num_models,
        gradient_norm=progress.last_pass.max_gradient_norm,
        contraction=progress.last_pass.contraction,
    )


@dataclass(frozen=True, kw_only=True)
class Stored:
    """All models that were asked for, the null control among them, as the cache holds them now."""

    wanted: int
    solved: int
    """Of these, solved now."""
    passes: int
    passes_now: int
    """Of those solved now."""
    gradient_norm: float
    """The largest."""
    missed: list[int]
    """Training points whose model did not reach the tolerance."""


def _stored(indices: list[int], cache: WeightCache, solved: Solved, tolerance: float) -> Stored:
    count = passes = passes_now = 0
    largest, missed = 0.0, list[int]()
    for part in cache.parts([*indices, NOTHING]):
        count, passes = count + len(part.indices), passes + int(part.passes.sum())
        passes_now += int(part.passes[np.isin(part.indices, solved.indices)].sum())
        largest = max(largest, float(part.gradient_norms.max()))
        missed += part.indices[part.gradient_norms > tolerance].tolist()
    return Stored(
        wanted=count,
        solved=len(solved.indices),
        passes=passes,
        passes_now=passes_now,
        gradient_norm=largest,
        missed=missed,
    )


def _entry(
    task: Task,
    settings: RetrainSettings,
    stored: Stored,
    solved: Solved,
    seconds: float,
    device: torch.device,
) -> dict[str, Any]:
    """What the record keeps of this run."""
    return {
        "model_checksum": task.key,
        "settings": {key: getattr(settings, key) for key in SOLVER_KEYS},
        "indices": sorted(solved.indices),
        "models": stored.solved,
        "seconds": seconds,
        "passes_per_model": stored.passes_now / stored.solved,
        "processes": distributed.num_ranks(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "trace": solved.trace,
    }


def _say_result(stored: Stored, cache: WeightCache, seconds: float, tolerance: float) -> None:
    reused, per_model = stored.wanted - stored.solved, stored.passes / stored.wanted
    say(
        f"{stored.wanted - 1} leave-one-out models and the null control: {stored.solved} solved now in "
        f"{seconds:.1f} s, {reused} from {cache.folder}\n"
        f"largest gradient norm {stored.gradient_norm:.1e} (tolerance {tolerance:.0e}), "
        f"{per_model:.1f} passes over the data a model",
        "retrained",
        models=stored.wanted,
        solved=stored.solved,
        seconds=seconds,
        gradient_norm=stored.gradient_norm,
        tolerance=tolerance,
        passes_per_model=per_model,
        missed=stored.missed,
    )
    if stored.missed:
        raise StageError(
            f"{len(stored.missed)} models did not reach retrain.tolerance={tolerance:g}, first training "
            f"index {min(stored.missed)}. Their certificates say by how much they may be off; more model.l2 "
            "helps"
        )
