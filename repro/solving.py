"""Solving the leave-one-out models that a run lacks, with its settings, into its weights and record."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erm.softmax import SoftmaxRisk
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.retraining import append_run
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
    seconds: float = 0.0
    """What solving took."""


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
    device: torch.device,
) -> dict[str, Any]:
    """What the record keeps of this run."""
    return {
        "model_checksum": task.key,
        "settings": {key: getattr(settings, key) for key in SOLVER_KEYS},
        "indices": sorted(solved.indices),
        "models": stored.solved,
        "seconds": stored.seconds,
        "passes_per_model": stored.passes_now / stored.solved,
        "processes": distributed.num_ranks(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "trace": solved.trace,
    }


def weight_cache(folder: RunFolder, key: str) -> WeightCache:
    """The run's leave-one-out weights."""
    return WeightCache(folder.weights, key, warn if distributed.rank() == 0 else lambda _: None)


def solve_and_record(
    folder: RunFolder,
    config: Config,
    risk: SoftmaxRisk,
    task: Task,
    device: torch.device,
    report: Callable[[Progress], None],
) -> Stored | None:
    """Solve what the run's weights lack with the configured settings, and enter it into the record.

    Returns:
        What there is now; None on every rank but the first.

    Raises:
        StageError: these models cannot be certified.
    """
    cache = weight_cache(folder, task.key)
    settings = RetrainSettings(**{key: config["retrain"][key] for key in SOLVER_KEYS})
    started = time.perf_counter()
    try:
        solved = solve_missing(risk, task.theta, task.indices, cache, settings, report, device=device)
    except LeaveOneOutError as error:
        raise StageError(str(error)) from error
    if distributed.rank() != 0:
        return None
    stored = replace(
        _stored(task.indices, cache, solved, settings.tolerance), seconds=time.perf_counter() - started
    )
    append_run(folder, _entry(task, settings, stored, solved, device) if solved.indices else None)
    return stored
