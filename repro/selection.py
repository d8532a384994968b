"""Which training points are left out and plotted: a configuration's choice, the same for every stage."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk
from repro.configuration.compose import Config
from repro.configuration.validation import is_shipped
from repro.errors import UsageError
from repro.problem import make_removal_kind
from repro.user_code import naming_own_code
from retrain.removal import Removal, removal


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


def makes_groups(config: Config) -> bool:
    """Whether the removals may take several rows each, so that tables and figures are those of groups."""
    kind = make_removal_kind(config)
    return getattr(getattr(kind, "func", kind), "makes_groups", False) is True


def asked_by_kind(config: Config) -> set[str]:
    """What the kind of removals asks for by name; "influences": predictions of all test points together."""
    return _parameters(make_removal_kind(config))


def needs_influence(config: Config) -> bool:
    """Whether predictions choose the removals."""
    return not asked_by_kind(config).isdisjoint({"influence", "influences"})


def refuse_groups(config: Config, stage: str) -> None:
    """Raise UsageError for a stage that knows single points alone."""
    if makes_groups(config):
        raise UsageError(
            f"{stage} shows single points, and removals={selection_name(config)} makes groups: "
            "choose removals=influential or another kind of single points"
        )


def needs_model(config: Config) -> bool:
    """Whether θ̂ has to be known for the removals to be chosen: by predictions, or by gradients there."""
    return needs_influence(config) or "gradient_factors" in asked_by_kind(config)


def refuse_impossible_groups(config: Config, num_train: int) -> None:
    """Raise UsageError for settings that cannot work, of a kind that has to wait for predictions."""
    kind = make_removal_kind(config)
    judge = getattr(getattr(kind, "func", kind), "judge", None)
    if judge is None:
        return
    settings = {name: config["removals"][name] for name in _parameters(judge) if name in config["removals"]}
    try:
        judge(num_examples=num_train, **settings)
    except ValueError as error:
        raise UsageError(str(error)) from error


def chosen_groups(
    config: Config,
    dataset: Dataset,
    influences: Float[np.ndarray, "t n"] | None = None,
    model: tuple[EmpiricalRisk, Tensor] | None = None,
) -> list[Removal]:
    """The groups that `removals` makes, each once, in the order in which it names them.

    Args:
        influences: I_up,loss of one method for the test points that choose, for a kind that needs it: as
            `influences` all of them, as `influence` the first.
        model: the empirical risk and θ̂, for a kind that needs gradients there.

    Raises:
        UsageError: a setting does not fit, or a group is empty, names what is no row, leaves nothing or no
            example of a class.
    """
    num_train = len(dataset.y_train)
    offered: dict[str, Any] = {"labels": dataset.y_train, "features": dataset.x_train}
    offered |= {} if influences is None else {"influences": influences, "influence": influences[0]}
    kind = make_removal_kind(config)
    if model is not None and "gradient_factors" in _parameters(kind):
        offered |= {"gradient_factors": _gradient_factors(config, *model)}
    found = _made(config, kind, num_train, **offered)
    counts = np.bincount(dataset.y_train)
    groups = list(dict.fromkeys(_checked_group(config, rows, num_train) for rows in found))
    for rows in groups:
        left = counts - np.bincount(dataset.y_train[list(rows)], minlength=len(counts))
        if (gone := np.flatnonzero((left == 0) & (counts > 0))).size:
            raise UsageError(
                f"removals={selection_name(config)}: a removal of {len(rows)} rows, the first of them "
                f"{rows[0]}, leaves no training example of class {gone[0]}"
            )
    return groups


def refuse_gradients_of(config: Config, risk: object) -> None:
    """Raise UsageError where the kind clusters gradients of another model than this one."""
    if "gradient_factors" in asked_by_kind(config) and not isinstance(risk, SoftmaxRisk):
        raise UsageError(
            f"removals={selection_name(config)} clusters gradients of softmax regression: use "
            "model=logistic, or another kind of removals"
        )


def _gradient_factors(
    config: Config, risk: EmpiricalRisk, theta: Tensor
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n K"]]:
    """x, bias column included, and p − y of the training examples at θ̂."""
    refuse_gradients_of(config, risk)
    assert isinstance(risk, SoftmaxRisk)
    residuals = risk.probabilities(theta) - risk.labels
    return risk.x.cpu().numpy(), residuals.cpu().numpy()


def _checked_group(config: Config, rows: Any, num_train: int) -> Removal:
    where = f"removals={selection_name(config)}"
    if not isinstance(rows, tuple) or not all(isinstance(row, int | np.integer) for row in rows):
        raise UsageError(f"{where}: {rows!r:.60} is no removal; expected a tuple of training rows")
    if not rows:
        raise UsageError(f"{where}: a removal is empty; expected at least one training row")
    try:
        return removal((int(row) for row in rows), num_train)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


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


def describe_groups(config: Config, groups: list[Removal]) -> str:
    """Groups in words, for the title of a figure."""
    sizes = [len(rows) for rows in groups]
    least, most = min(sizes), max(sizes)
    rows = f"{least:,} row{'' if least == 1 else 's'}" if least == most else f"{least:,} to {most:,} rows"
    plural = "" if len(groups) == 1 else "s"
    return f"{len(groups):,} group{plural} of {rows}, removals={selection_name(config)}"


def _parameters(kind: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(kind).parameters)


def _points(config: Config, kind: Callable[..., Any], num_train: int, **arguments: Any) -> list[int]:
    """The rows of the kind's removals, each of which has to be a single row."""
    removals = _made(config, kind, num_train, **arguments)
    for found in removals:
        if not _is_one_row(found, num_train):
            raise UsageError(
                f"removals._target_={config['removals']['_target_']} returned the removal {found!r:.60}, "
                f"expected a tuple of one training row, such as (3,), within 0 … {num_train - 1}"
            )
    return [int(row) for (row,) in dict.fromkeys(removals)]


def _made(config: Config, kind: Callable[..., Any], num_train: int, **arguments: Any) -> list[Any]:
    """What the kind returns, which has to be a list."""
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
    return removals


def _is_one_row(removal: Any, num_train: int) -> bool:
    return (
        isinstance(removal, tuple)
        and len(removal) == 1
        and isinstance(removal[0], int | np.integer)
        and bool(0 <= removal[0] < num_train)
    )
