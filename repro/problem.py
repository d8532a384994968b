"""From a checked configuration to the objects that the stages compute with."""

import warnings
from typing import Any

import hydra
import torch
from hydra.errors import InstantiationException
from jaxtyping import Float
from torch import Tensor

from erm.data.errors import DataUnavailableError
from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from repro.configuration.compose import Config
from repro.configuration.files import make_own_modules_importable
from repro.configuration.mistakes import root_too_deep
from repro.configuration.validation import is_shipped
from repro.errors import StageError, UsageError
from repro.notices import warn
from repro.user_code import check_made, explain_import, naming_own_code


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
    """The empirical risk of the configured model over the training examples, in float64.

    What the model warns of is a line on the logger `repro`.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        risk = _instantiate(config["model"], "model", dataset=dataset, dtype=torch.float64, device=device)
    for warning in said:
        warn(str(warning.message))
    check_made(risk, EmpiricalRisk, _name(config["model"], "model"))
    return risk


def make_fit(config: Config) -> Any:
    """The configured way to minimise it."""
    return _instantiate(config["fit"], "fit")


def fit_to_a_minimum(risk: EmpiricalRisk, theta: Float[Tensor, " p"]) -> str:
    """The file of the fit group that ends at a minimum of such a model."""
    return "newton" if risk.curvature(theta).convex else "local"


def asks_for_minima(config: Config) -> bool:
    """Whether models are held to minima of the risk: not trained on, nor those of a quadratic around θ̂."""
    return config["retrain"]["steps"] is None and config["retrain"]["damping"] is None


def minima_by(config: Config, fit: str) -> str:
    """The value of `fit` that ends at a minimum, with the override that solves models to minima too.

    Args:
        config: as it is.
        fit: the file of the group, of `fit_to_a_minimum`.
    """
    return fit if asks_for_minima(config) else f"{fit} retrain=default"


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
    if config.test_points is not None:
        return list(config.test_points)
    predicted = risk.predict(theta, torch.from_numpy(dataset.x_test)).cpu().numpy()
    wrong = (predicted != dataset.y_test).nonzero()[0]
    if not len(wrong):
        raise UsageError(
            "test_index=misclassified: every test point is classified correctly; "
            "name one, such as test_index=0"
        )
    return [int(wrong[0])]


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
    for index in config.test_points or ():
        if index >= num_test:
            raise UsageError(
                f"test_index={index}: there are {num_test} test points; expected 0 … {num_test - 1}"
            )
