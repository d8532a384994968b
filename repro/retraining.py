"""Retraining what a run lacks, with its settings, into its weights and record."""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from erm.adam import AdamFit
from erm.files import without_non_finite
from parallel.group import ALONE, Group
from repro.configuration.compose import Config
from repro.errors import StageError, UsageError
from repro.folder.paths import RunFolder
from repro.model_file import TrainedModel, load_moments
from repro.notices import warn
from repro.problem import make_fit
from repro.records.retraining import RetrainingRun, SolverSettings, append_run, group_digest, models_key
from repro.selection import makes_groups
from repro.session import Session
from retrain.choice import check_retrainable, retrainer_for
from retrain.continued import Training
from retrain.removal import Removal
from retrain.retrainer import (
    LeaveOneOutError,
    NoRetrainerError,
    Retrainer,
    SolvedModels,
    with_null_control,
)
from retrain.settings import L2Scaling, RetrainingProgress, RetrainSettings, SolvedNow
from retrain.weights import WeightCache

SOLVER_KEYS = tuple(field.name for field in fields(RetrainSettings))


@dataclass(frozen=True)
class RetrainingJob:
    """What rank 0 reads from the run folder, and every rank works on."""

    theta: Tensor
    key: str
    """Names θ̂."""
    removals: list[Removal]


@dataclass(frozen=True, kw_only=True)
class RetrainingResult:
    """What a retraining has solved, and what there is now of all that was asked for."""

    solved: SolvedNow
    models: SolvedModels
    """The null control among them."""
    seconds: float


def refuse_other_models(config: Config, risk: object) -> None:
    """Raise StageError where no retrainer takes the configured model."""
    try:
        check_retrainable(risk, retrain_settings(config))
    except NoRetrainerError as error:
        raise _refusal(config, error) from error


def retrainer_for_key(
    folder: RunFolder,
    config: Config,
    risk: object,
    theta: Tensor,
    key: str,
    *,
    group: Group = ALONE,
    warn: Callable[[str], None] = warn,
    l2_scaling: L2Scaling | None = None,
) -> Retrainer:
    """The retrainer of the configured model, with the run's weights and settings.

    Args:
        key: names θ̂.
        warn: told of weights that are set aside; by the first rank alone.
        l2_scaling: in place of the configured one.

    Raises:
        StageError: no retrainer takes this model.
        UsageError: single points are to keep n·λ.
    """
    settings = retrain_settings(config)
    if l2_scaling is None:
        refuse_sum_for_points(config)
    else:
        settings = replace(settings, l2_scaling=l2_scaling)
    training = None if settings.steps is None else _training(folder, config, theta)
    own = models_key(key, settings)
    cache = WeightCache(folder.weights, own, warn if group.is_first else lambda _: None)
    try:
        return retrainer_for(risk, theta, cache, settings, group, training)
    except NoRetrainerError as error:
        raise _refusal(config, error) from error


def _training(folder: RunFolder, config: Config, theta: Tensor) -> Training | None:
    """That has made θ̂, if it can go on; ranks on other machines read the same folder, or a copy of it."""
    fit = make_fit(config)
    moments = load_moments(folder, theta) if isinstance(fit, AdamFit) else None
    return None if moments is None else Training(fit=fit, moments=moments)


def make_retrainer(session: Session, model: TrainedModel) -> Retrainer:
    """The retrainer of a session's model, in this process.

    Raises:
        StageError: no retrainer takes this model.
    """
    return retrainer_for_key(session.folder, session.config, session.risk, model.theta, model.key)


def refuse_sum_for_points(config: Config) -> None:
    """Raise UsageError where single points are to keep n·λ: all that is said of them is the paper's."""
    if config["retrain"]["l2_scaling"] == "sum" and not makes_groups(config):
        raise UsageError(
            "retrain.l2_scaling=sum is for groups, as removals=groups makes them: single points have the "
            "paper's convention, retrain.l2_scaling=mean"
        )


def retrain_settings(config: Config) -> RetrainSettings:
    """The configured settings of the solver."""
    return RetrainSettings(**{key: config["retrain"][key] for key in SOLVER_KEYS})


def solve_and_record(
    folder: RunFolder,
    config: Config,
    retrainer: Retrainer,
    job: RetrainingJob,
    report: Callable[[RetrainingProgress], None],
    group: Group = ALONE,
) -> RetrainingResult | None:
    """Retrain what the run's weights lack, and enter it into the record.

    Returns:
        What there is now; None on every rank but the first.

    Raises:
        StageError: these models cannot be certified.
    """
    started = time.perf_counter()
    try:
        solved = retrainer.solve(job.removals, report)
    except LeaveOneOutError as error:
        raise StageError(str(error)) from error
    if not group.is_first:
        return None
    models = retrainer.models(with_null_control(job.removals))
    result = RetrainingResult(solved=solved, models=models, seconds=time.perf_counter() - started)
    append_run(folder, _entry(config, job, result, group) if solved.removals else None)
    return result


def _refusal(config: Config, error: NoRetrainerError) -> StageError:
    return StageError(f"model={config.choices['model']}: {error}")


def _entry(config: Config, job: RetrainingJob, result: RetrainingResult, group: Group) -> RetrainingRun:
    """What the record keeps of this run."""
    settings, device = retrain_settings(config), group.device or job.theta.device
    solved = result.solved.removals
    return RetrainingRun(
        model_checksum=job.key,
        settings=SolverSettings(**{key: getattr(settings, key) for key in SOLVER_KEYS}),
        removals=[list(rows) for rows in solved if len(rows) <= 1],
        groups=[group_digest(rows) for rows in solved if len(rows) > 1],
        models=len(solved),
        seconds=result.seconds,
        passes_per_model=result.models.passes_of(solved) / len(solved),
        processes=group.size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        trace=[list(step) for step in without_non_finite(result.solved.trace)],
    )
