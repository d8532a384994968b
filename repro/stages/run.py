"""`repro run`: the four stages in order, skipping what is already done."""

from dataclasses import replace

from cli.console import complain, say
from parallel.launch import NotEnoughGPUsError, num_processes
from repro.configuration.compose import SELECTION_KEYS, Config
from repro.errors import StageError, UsageError
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.problem import compute_device, load_dataset, load_model, make_risk, test_indices
from repro.records.influence import read_record, read_table
from repro.solving import refuse_other_models
from repro.stages.influence import influence
from repro.stages.plot import plot
from repro.stages.retrain import retrain
from repro.stages.train import train_unless_done
from retrain.schedule import LeaveOneOutError, check_certifiable

SOFTMAX_TARGET = "erm.models.logistic"
"""A model that is known to be softmax regression without being made."""


def run(configs: list[Config]) -> None:
    """Train, predict by each method, retrain, plot.

    Args:
        configs: one a method; they differ in the influence group alone.

    Raises:
        StageError: a stage failed; a method that failed does not keep the others from being plotted.
    """
    _refuse_what_cannot_be_retrained(configs[0])
    train_unless_done(configs[0])
    with open_run_folder(configs[0]) as folder:
        _run(folder, configs)


def _refuse_what_cannot_be_retrained(config: Config) -> None:
    """Before any work starts: the model, its L2 and the number of processes.

    Raises:
        StageError, UsageError: what `retrain` would refuse after all other stages.
    """
    if config["model"]["_target_"] != SOFTMAX_TARGET:
        device, dataset = compute_device(config), load_dataset(config)
        refuse_other_models(config, make_risk(config, dataset, device))
    try:
        check_certifiable(config["model"].get("l2", 1.0))
        num_processes(config["retrain"]["gpus"], config["device"])
    except (LeaveOneOutError, NotEnoughGPUsError) as error:
        raise UsageError(str(error)) from error


def _run(folder: RunFolder, configs: list[Config]) -> None:
    failures = [failure for config in configs if (failure := _predict(folder, config)) is not None]
    if len(failures) == len(configs):
        raise StageError(failures[-1])
    for failure in failures:
        complain(failure)
    shared = _without_method_settings(configs[0])
    retrain(shared)
    plot(shared)
    if failures:
        raise StageError(f"{len(failures)} of {len(configs)} methods failed; the figure shows the others")


def _predict(folder: RunFolder, config: Config) -> str | None:
    """Run a method unless its table is there; why it failed, if it did."""
    if _is_done(folder, config):
        table = folder.influence_table(config.method)
        say(f"already predicted: {table}", "skipped", file=table)
        return None
    try:
        influence(config)
    except (StageError, UsageError) as error:
        return str(error)
    return None


def _is_done(folder: RunFolder, config: Config) -> bool:
    record = read_record(folder, config.method)
    if record is None or read_table(folder, record) is None:
        return False
    device, dataset = compute_device(config), load_dataset(config)
    model = load_model(folder, config, dataset, device)
    targets = test_indices(config, dataset, make_risk(config, dataset, device), model.theta)
    return (
        record["settings"] == config.solver_settings
        and record["model_checksum"] == model.key
        and set(targets) <= set(record["test_index"])
    )


def _without_method_settings(config: Config) -> Config:
    """For the stages that treat all methods alike: no settings of one method among the overrides."""
    kept = tuple(
        text
        for text in config.overrides
        if not text.startswith("influence") or text.split("=")[0].partition(".")[2] in SELECTION_KEYS
    )
    return replace(config, overrides=kept)
