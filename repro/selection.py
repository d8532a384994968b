"""Which training points are left out and plotted: a configuration's choice, the same for every stage."""

from collections.abc import Sequence

import numpy as np

from repro.configuration.compose import Config


def chosen_points(config: Config, num_train: int) -> list[int] | None:
    """The training points that `retrain.points` names, ascending; None when the predictions choose them."""
    points, settings = config["retrain"]["points"], config["retrain"]
    if points == "influential":
        return None
    if points == "all":
        return list(range(num_train))
    if points == "random":
        generator = np.random.default_rng(settings["seed"])
        drawn = generator.choice(num_train, size=settings["num_random"], replace=False)
        return sorted(int(index) for index in drawn)
    return sorted(set(points))


def selection_name(config: Config) -> str:
    """The word for the choice in tables: influential, random, all or indices."""
    points = config["retrain"]["points"]
    return points if isinstance(points, str) else "indices"


def describe_selection(config: Config, num_train: int, num_tests: int) -> str:
    """The choice in words, for the title of a figure."""
    settings, top_k = config["retrain"], config.top_k
    each = "" if num_tests == 1 else " on each test point"
    described = {
        "influential": f"The {top_k:,} training points of most predicted influence{each}",
        "random": f"{settings['num_random']:,} random training points (seed {settings['seed']})",
        "all": f"All {num_train:,} training points",
    }
    name = selection_name(config)
    return described.get(name) or _count(settings["points"])


def _count(points: Sequence[int]) -> str:
    number = len(set(points))
    return f"{number:,} chosen training point" + ("" if number == 1 else "s")
