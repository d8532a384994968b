"""`repro retrain`: solve every leave-one-out model that the computed methods selected."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from cli.compose import Config
from cli.console import progress_bar, say, warn
from cli.errors import StageError, UsageError
from cli.predictions import read_predictions, selected_indices
from cli.problem import compute_device, load_dataset, load_model, make_risk, test_indices
from cli.run_folder import run_folder
from erm.softmax import SoftmaxRisk
from retrain import distributed
from retrain.launch import NotEnoughGPUsError, RankFailedError, launch, num_processes
from retrain.preconditioner import PreconditionerError
from retrain.removal import NOTHING
from retrain.schedule import LeaveOneOutError, Progress, RetrainSettings, solve_missing
from retrain.weights import WeightCache


def retrain(config: Config) -> None:
    """Retrain without each selected point, here, in processes of its own, or as a rank of a launched run.

    Raises:
        StageError: an earlier stage is missing, a process failed, or a model missed its tolerance.
        UsageError: more GPUs were asked for than there are.
    """
    if distributed.launched():
        _retrain_as_rank(config)
        return
    try:
        processes, warning = num_processes(config["retrain"]["gpus"], config["device"])
    except NotEnoughGPUsError as error:
        raise UsageError(str(error)) from error
    if warning:
        warn(warning)
    if processes == 1:
        _retrain_as_rank(config)
        return
    try:
        launch(["retrain", *config.overrides], processes)
    except RankFailedError as error:
        raise StageError(str(error)) from error


def weight_cache(folder: Path, key: str) -> WeightCache:
    """The run's leave-one-out weights."""
    return WeightCache(folder, key, warn)


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


def _retrain_as_rank(config: Config) -> None:
    device = compute_device(config)
    if config["retrain"]["gpus"] == 0:
        device = torch.device("cpu")
    device = distributed.rank_device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if distributed.launched():
        distributed.share_threads()
    with distributed.process_group(device):
        _solve_and_say(config, device)


def _solve_and_say(config: Config, device: torch.device) -> None:
    folder, dataset = run_folder(config), load_dataset(config)
    risk = softmax_risk(config, make_risk(config, dataset, device))
    model = load_model(folder, config, dataset, device)
    targets = test_indices(config, dataset, risk, model.theta)
    predictions = read_predictions(folder, config, model.key, targets)
    wanted = selected_indices(predictions)
    cache = weight_cache(folder.weights, model.key)
    settings = RetrainSettings(**{key: value for key, value in config["retrain"].items() if key != "gpus"})
    started = time.perf_counter()
    with progress_bar("retraining") as bar:
        try:
            solved = solve_missing(risk, model.theta, wanted, cache, settings, _show(bar.update))
        except (LeaveOneOutError, PreconditionerError) as error:
            raise StageError(str(error)) from error
    if distributed.rank() == 0:
        _say_result(wanted, cache, solved, time.perf_counter() - started, settings.tolerance)


def _show(update: Callable[[float, float | None, str], None]) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if distributed.rank() == 0:
            update(progress.models_done, progress.models_total, f"{progress.stage}: {progress.detail}")

    return report


def _say_result(wanted: list[int], cache: WeightCache, solved: int, seconds: float, tolerance: float) -> None:
    weights = cache.read([*wanted, NOTHING])
    assert weights is not None
    say(
        f"{len(wanted)} leave-one-out models and the null control: {solved} solved now in {seconds:.1f} s, "
        f"{len(weights.indices) - solved} from {cache.folder}"
    )
    say(
        f"largest gradient norm {weights.gradient_norms.max():.1e} (tolerance {tolerance:.0e}), "
        f"{weights.passes.mean():.1f} passes over the data a model"
    )
    missed = weights.indices[weights.gradient_norms > tolerance]
    if len(missed):
        raise StageError(
            f"{len(missed)} models did not reach retrain.tolerance={tolerance:g}, first training index "
            f"{missed[0]}. Their certificates say by how much they may be off; more model.l2 helps"
        )
