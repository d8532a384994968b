"""`repro retrain`: solve every leave-one-out model that is asked for."""

import math
import socket
from dataclasses import replace
from pathlib import Path

import torch

from cli.console import say
from cli.progress import Standing, progress_bar
from erm.aligned import aligned
from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from parallel.collectives import broadcast_object
from parallel.group import Group
from repro.configuration.compose import Config
from repro.errors import StageError, UsageError
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.predictions import read_predictions, selected_removals
from repro.problem import load_dataset, load_model, make_risk, test_indices
from repro.ranks import run_in_ranks
from repro.selection import chosen_points
from repro.solving import (
    RetrainingJob,
    RetrainingResult,
    make_retrainer,
    refuse_other_models,
    solve_and_record,
)
from retrain.removal import Removal, leave_one_out
from retrain.settings import RetrainingProgress


def retrain(config: Config) -> None:
    """Retrain without each point, here, in processes of its own, or as a rank of a launched run.

    Raises:
        StageError: an earlier stage is missing, a process failed, or a model missed its tolerance.
        UsageError: more GPUs were asked for than there are.
    """
    with open_run_folder(config) as folder:
        arguments = ["retrain", *config.overrides]
        run_in_ranks(config, arguments, lambda group, device: _solve_and_say(folder, config, group, device))


def _solve_and_say(folder: RunFolder, config: Config, group: Group, device: torch.device) -> None:
    dataset = load_dataset(config)
    # Examples that are shared out stay in host memory until each rank takes its own.
    home = torch.device("cpu") if config["retrain"]["shard"] == "data" else device
    risk = make_risk(config, dataset, home)
    refuse_other_models(config, risk)
    job = _read_job(folder, config, dataset, risk, group)
    theta = aligned(job.theta, like=torch.empty(0, dtype=job.theta.dtype, device=home))
    retrainer = make_retrainer(folder, config, risk, theta, job.key, group=group)
    with progress_bar("retraining", shown=group.is_first) as bar:
        result = solve_and_record(
            folder, config, retrainer, job, lambda progress: bar.update(_standing(progress)), group
        )
    if result is not None:
        _say_result(result, folder.weights, config["retrain"]["tolerance"])


def _read_job(
    folder: RunFolder, config: Config, dataset: Dataset, risk: EmpiricalRisk, group: Group
) -> RetrainingJob:
    """What there is to do, from the run folder of rank 0: ranks on other machines have none.

    Raises:
        StageError: an earlier stage is missing; on rank 0, which speaks for all.
    """
    job: RetrainingJob | None = None
    problem: StageError | UsageError | None = None
    if group.is_first:
        try:
            model = load_model(folder, config, dataset, risk.initial_parameters().device)
            chosen = chosen_points(config, risk.num_examples)
            if chosen is None:
                targets = test_indices(config, dataset, risk, model.theta)
                removals = selected_removals(read_predictions(folder, config, model.key, targets, None))
            else:
                removals = leave_one_out(chosen)
            job = RetrainingJob(model.theta.cpu(), model.key, removals)
        except (StageError, UsageError) as error:
            problem = error
    job = broadcast_object(job, group)
    if problem is not None:
        raise _naming_machine(problem, group)
    if job is None:
        raise SystemExit(1)
    return job


def _naming_machine(problem: StageError | UsageError, group: Group) -> StageError | UsageError:
    """The problem, and in a run on several machines whose run folder it is about."""
    if group.size == group.ranks_here:
        return problem
    return type(problem)(
        f"{problem}\nProcess 0 of this run, which reads the run folder, is on {socket.gethostname()}: all "
        "machines have to see the folder, or have a copy of it"
    )


def _standing(progress: RetrainingProgress) -> Standing:
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


def _say_result(result: RetrainingResult, weights: Path, tolerance: float) -> None:
    models, num_solved = result.models, len(result.solved.removals)
    missed, per_model = models.missed(tolerance), int(models.passes.sum()) / len(models)
    say(
        f"{len(models) - 1} leave-one-out models and the null control: {num_solved} solved now in "
        f"{result.seconds:.1f} s, {len(models) - num_solved} from {weights}\n"
        f"largest gradient norm {models.largest_norm:.1e} (tolerance {tolerance:.0e}), "
        f"{per_model:.1f} passes over the data per model",
        "retrained",
        models=len(models),
        solved=num_solved,
        seconds=result.seconds,
        gradient_norm=models.largest_norm,
        tolerance=tolerance,
        passes_per_model=per_model,
        missed=missed,
    )
    if missed:
        raise StageError(_about_missed(missed, models.largest_norm, tolerance))


def _about_missed(missed: tuple[Removal, ...], norm: float, tolerance: float) -> str:
    first = next((rows[0] for rows in missed if rows), "that of the null control")
    # A certificate is made of the norm that a model did reach, and never assumes the tolerance.
    return (
        f"{len(missed)} models did not reach retrain.tolerance={tolerance:g}, first training index "
        f"{first}: gradient norms of up to {norm:.1e} are left. Their certificates follow "
        "from these norms, not from the tolerance, and are wider by as much; `repro plot` shows them. "
        f"retrain.tolerance={_accepting(norm):.0e} accepts them; more model.l2 makes them "
        "easier to solve"
    )


def _accepting(norm: float) -> float:
    """The smallest power of ten that is not below a norm."""
    return float(f"1e{math.ceil(math.log10(norm))}")
