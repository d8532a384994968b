"""Which training points are left out and plotted: a configuration's choice, the same for every stage."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from repro.configuration.compose import Config
from repro.configuration.validation import is_shipped
from repro.errors import UsageError
from repro.problem import make_removal_kind
from repro.user_code import naming_own_code


def points_without_predictions(config: Config, num_train: int) -> list[int] | None:
    """The training points that `removals` names; None when the predictions choose them.

    Raises:
        UsageError: there are no such points, or a kind of one's own returns no removals.
    """
    kind = make_removal_kind(config)
    if "influence" in _parameters(kind):
        # Judged already, and not only once there are predictions.
        top_k(config, num_train)
        return None
    return _points(config, kind, num_train)


def points_by_influence(config: Config, influence: Float[np.ndarray, " n"]) -> list[int]:
    """The training points that predictions choose, of one method and for one test point: I_up,loss.

    Raises:
        UsageError: as `points_without_predictions`.
    """
    return _points(config, make_removal_kind(config), len(influence), influence=influence)


def top_k(config: Config, num_train: int) -> int:
    """How many points the scatter shows for each test point: at most all, unless more were asked for by hand.

    Raises:
        UsageError: the command line asks for more than there are.
    """
    if config.top_k > num_train and any(text.lstrip("+").startswith("top_k=") for text in config.overrides):
        raise UsageError(
            f"top_k={config.top_k}: there are {num_train} training points; expected 1 … {num_train}"
        )
    return min(config.top_k, num_train)


def capped(config: Config, num_train: int) -> str | None:
    """A line for where the usual number of points is more than there are; None elsewhere."""
    if config.top_k <= num_train or "influence" not in _parameters(make_removal_kind(config)):
        return None
    return f"top_k={config.top_k} is more than the {num_train} training points there are: all are taken"


def selection_name(config: Config) -> str:
    """The word for the choice in tables: what `removals` is chosen by, such as influential."""
    return config.choices["removals"]


def describe_selection(config: Config, num_train: int, num_tests: int) -> str:
    """The choice in words, for the title of a figure."""
    settings, name = config["removals"], selection_name(config)
    each = "" if num_tests == 1 else " on each test point"
    described = {
        "influential": f"The {top_k(config, num_train):,} training points of most predicted influence{each}",
        "random": f"{settings.get('count', 0):,} random training points (seed {settings.get('seed')})",
        "all": f"All {num_train:,} training points",
    }
    if name in described:
        return described[name]
    points = points_without_predictions(config, num_train)
    if points is None:
        return f"Training points by removals={name}{each}"
    plural = "" if len(points) == 1 else "s"
    return f"{len(points):,} chosen training point{plural}" + ("" if name == "indices" else f" ({name})")


def _parameters(kind: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(kind).parameters)


def _points(config: Config, kind: Callable[..., Any], num_train: int, **arguments: Any) -> list[int]:
    """The rows of the kind's removals, each of which has to be a single row: others are not solved yet."""
    offered = {"num_examples": num_train, "top_k": top_k(config, num_train)} | arguments
    parameters = _parameters(kind)
    name = f"removals._target_={config['removals']['_target_']}"
    with naming_own_code():
        try:
            removals = kind(**{key: value for key, value in offered.items() if key in parameters})
        except (ValueError, TypeError) as error:
            own = "" if is_shipped(config["removals"]["_target_"]) else f"{name}: "
            raise UsageError(f"{own}{error}") from error
    if not isinstance(removals, list) or not removals:
        raise UsageError(
            f"{name} returned {removals!r:.60}, expected a list of removals, such as [(3,), (8,)]"
        )
    for removal in removals:
        if not _is_one_row(removal, num_train):
            raise UsageError(
                f"{name} returned the removal {removal!r:.60}, expected a tuple of one training row, such as "
                f"(3,), within 0 … {num_train - 1}"
            )
    return [int(row) for (row,) in dict.fromkeys(removals)]


def _is_one_row(removal: Any, num_train: int) -> bool:
    return (
        isinstance(removal, tuple)
        and len(removal) == 1
        and isinstance(removal[0], int | np.integer)
        and bool(0 <= removal[0] < num_train)
    )
