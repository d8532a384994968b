"""From a checked configuration to the objects that the stages compute with."""

import errno
import json
import shlex
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cli.console import warn
from erm.aligned import aligned
from erm.data.errors import DataUnavailableError
from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from repro.configuration.compose import Config
from repro.configuration.files import make_own_modules_importable
from repro.configuration.mistakes import root_too_deep
from repro.configuration.validation import is_shipped
from repro.errors import StageError, UsageError
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder, describe_differences, determining
from repro.records.model import stored_facts
from repro.user_code import check_made, explain_import, naming_own_code

PROJECT = "leave-one-out-reproducer"


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """θ̂ as `model.safetensors` holds it, with the facts stored beside it."""

    theta: Float[Tensor, " p"]
    facts: dict[str, Any]
    """gradient_norm, converged, data_checksum, … as the train stage wrote them."""

    @property
    def key(self) -> str:
        """Names θ̂ to the last bit: what is stored relative to it is of no use with another."""
        return str(self.facts["checksum"])


def compute_device(config: Config) -> torch.device:
    """The device that `device` names.

    Raises:
        UsageError: cuda was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if config["device"] == "cuda" and not available:
        raise UsageError("device=cuda: torch sees no GPU here; device=auto or device=cpu computes on the CPU")
    return torch.device("cuda" if available and config["device"] != "cpu" else "cpu")


def load_dataset(config: Config) -> Dataset:
    """The examples, checked.

    Raises:
        UsageError: they are corrupt, or settings do not fit them.
        StageError: they are not here and cannot be downloaded.
    """
    if (wrong := root_too_deep(config["data"])) is not None:
        raise UsageError(wrong)
    dataset: Dataset = _instantiate(config["data"], "data")
    check_made(dataset, Dataset, _name(config["data"], "data"))
    _check_selection(config, dataset)
    return dataset


def make_risk(config: Config, dataset: Dataset, device: torch.device) -> Any:
    """The empirical risk of the configured model over the training examples, in float64."""
    risk = _instantiate(config["model"], "model", dataset=dataset, dtype=torch.float64, device=device)
    check_made(risk, EmpiricalRisk, _name(config["model"], "model"))
    return risk


def make_fit(config: Config) -> Any:
    """The configured way to minimise it."""
    return _instantiate(config["fit"], "fit")


def make_solver(config: Config) -> Any:
    """The configured iHVP solver."""
    return _instantiate(config.solver_settings, "influence")


def make_removal_kind(config: Config) -> Any:
    """The configured kind of removals, its settings given: see `retrain.removal_kinds`."""
    with naming_own_code():
        return _partial(config["removals"], "removals")


def test_indices(
    config: Config, dataset: Dataset, risk: EmpiricalRisk, theta: Float[Tensor, " p"]
) -> list[int]:
    """The test points whose loss is explained, as indices.

    Raises:
        UsageError: the first misclassified test point is asked for and every one is classified correctly.
    """
    asked = config.test_index
    if asked != "misclassified":
        return list(dict.fromkeys([asked] if isinstance(asked, int) else asked))
    predicted = risk.predict(theta, torch.from_numpy(dataset.x_test)).cpu().numpy()
    wrong = (predicted != dataset.y_test).nonzero()[0]
    if not len(wrong):
        raise UsageError(
            "test_index=misclassified: every test point is classified correctly; "
            "name one, such as test_index=0"
        )
    return [int(wrong[0])]


def save_model(folder: RunFolder, theta: Float[Tensor, " p"], facts: dict[str, Any]) -> None:
    """Write θ̂ and the facts about it."""
    tensors = {"theta": theta.cpu().contiguous()}
    metadata = {"facts": json.dumps(facts)}
    write_result(folder, folder.model, lambda temporary: _save(tensors, temporary, metadata))


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        # What the library makes of a full disk.
        raise OSError(errno.EIO, str(error), str(path)) from error


def load_model(folder: RunFolder, config: Config, dataset: Dataset, device: torch.device) -> TrainedModel:
    """Read θ̂, which must have been trained under this configuration and on these very examples.

    Raises:
        StageError: it was not trained yet, is damaged, or belongs to another configuration or other data.
    """
    facts = read_facts(folder, config)
    if facts["data_checksum"] != dataset.checksum:
        raise StageError(
            f"{folder.model} was trained on other examples:\n"
            f"  data checksum: {facts['data_checksum']} there, {dataset.checksum} here\n"
            "Give the same data, or another output_dir"
        )
    with safe_open(folder.model, framework="pt") as file:
        stored = file.get_tensor("theta")
    theta = aligned(stored, like=torch.empty(0, dtype=stored.dtype, device=device))
    return TrainedModel(theta=theta, facts=facts)


def read_facts(folder: RunFolder, config: Config) -> dict[str, Any]:
    """The facts stored beside θ̂, which must have been trained under this configuration.

    Raises:
        StageError: it was not trained yet, is damaged, or belongs to another configuration.
    """
    if not folder.model.exists():
        where = "" if folder.path.is_absolute() else f" in the working directory {Path.cwd()}"
        raise StageError(f"{folder.model} is missing{where}. Run first: {command('train', config)}")
    facts = stored_facts(folder)
    if facts is None:
        raise StageError(f"{folder.model} is damaged. Remove it and run: {command('train', config)}")
    written_by = facts["provenance"]["versions"].get(PROJECT, "unknown")
    different = describe_differences(facts["configuration"], determining(config.values))
    if different:
        raise StageError(f"{folder.model} was trained under another configuration:\n{different}")
    if written_by != version(PROJECT):
        warn(f"{folder.model} was written by version {written_by} of this tool, this is {version(PROJECT)}")
    return facts


def not_converged(facts: dict[str, object], config: Config) -> str:
    """Why a θ̂ that is not a minimiser is of no use, and what to do."""
    return f"the fit has not converged: ‖∇R(θ̂)‖ = {facts['gradient_norm']:.1e}. " + (
        "With model.l2=0 the risk may have no minimiser at all: set model.l2 > 0 (the paper uses 0.01)"
        if config["model"].get("l2") == 0
        else "Raise fit.max_passes or fit.tolerance, or take fit=newton"
    )


def command(stage: str, config: Config, *options: str) -> str:
    """The command line that runs a stage under the same configuration."""
    overrides = [text for text in config.overrides if not (options and text.startswith("influence="))]
    return shlex.join(["repro", stage, *options, *overrides])


def _instantiate(node: dict[str, Any], group: str, **arguments: Any) -> Any:
    """Call what `_target_` names with the group's settings and these arguments."""
    with naming_own_code():
        make = _partial(node, group)
        own = "" if is_shipped(node["_target_"]) else f"{_name(node, group)}: "
        try:
            return make(**arguments)
        except DataUnavailableError as error:
            raise StageError(f"{own}{error}") from error
        except (ValueError, TypeError) as error:
            raise UsageError(f"{own}{error}") from error


def _partial(node: dict[str, Any], group: str) -> Any:
    """What `_target_` names, with the group's settings and without a call."""
    if not node.get("_target_"):
        raise UsageError(f"{group}: the file chosen names no _target_, the class or function to call")
    make_own_modules_importable()
    try:
        # Partial, so that Hydra does not turn the arguments, which are no configuration, into one.
        return hydra.utils.instantiate(node, _partial_=True, _convert_="all")
    except (InstantiationException, TypeError) as error:
        raise UsageError(f"{_name(node, group)}: {explain_import(error)}") from error


def _name(node: dict[str, Any], group: str) -> str:
    return f"{group}._target_={node['_target_']}"


def _check_selection(config: Config, dataset: Dataset) -> None:
    num_test = len(dataset.y_test)
    asked = config.test_index
    for index in asked if isinstance(asked, list) else [asked]:
        if isinstance(index, int) and index >= num_test:
            raise UsageError(
                f"test_index={index}: there are {num_test} test points; expected 0 … {num_test - 1}"
            )
