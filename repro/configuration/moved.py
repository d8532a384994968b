"""Keys that had another name once: a command line is answered with the new one, an old file is still read."""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override

POINTS = "retrain.points"
MOVED = {
    "influence.test_index": "test_index",
    "influence.top_k": "top_k",
    POINTS: "removals",
    "retrain.num_random": "removals.count",
    "retrain.seed": "removals.seed",
}
"""The present name of a key, by the one that it had."""
KINDS = {
    "influential": "retrain.removal_kinds.influential",
    "random": "retrain.removal_kinds.random_points",
    "all": "retrain.removal_kinds.all_points",
}
"""What `retrain.points` could be besides a list."""


def moved(overrides: Sequence[Override]) -> str:
    """A line with what to type in place of overrides that name keys as they once were."""
    old = {str(found.key_or_group): str(found.input_line).partition("=")[2] for found in overrides}
    words = [word for key, value in old.items() for word in _now(key, value)]
    names = ", ".join(MOVED[key] for key in old)
    return f"{', '.join(old)} {'is' if len(old) == 1 else 'are'} now {names}: {shlex.join(words)}"


def in_present_names(values: dict[Any, Any]) -> dict[Any, Any]:
    """A configuration as a run folder holds it, with every key where it is now."""
    influence, retrain = (dict(_mapping(values, group)) for group in ("influence", "retrain"))
    found: dict[Any, Any] = {}
    for key in ("test_index", "top_k"):
        # A solver of one's own may have a setting of such a name; then the key itself is there already.
        if key in influence and key not in values:
            found |= {key: influence.pop(key), "influence": influence}
    if "points" in retrain and "removals" not in values:
        points, count, seed = (retrain.pop(key, None) for key in ("points", "num_random", "seed"))
        found |= {"removals": _kind(points, count, seed), "retrain": retrain}
    return values | found


def _kind(points: Any, count: Any, seed: Any) -> dict[str, Any]:
    if not isinstance(points, str) or points not in KINDS:
        return {"_target_": "retrain.removal_kinds.chosen_points", "indices": points}
    return {"_target_": KINDS[points]} | ({"count": count, "seed": seed} if points == "random" else {})


def _now(key: str, value: str) -> list[str]:
    if key == POINTS and value.startswith("["):
        return ["removals=indices", f"removals.indices={value}"]
    return [f"{MOVED[key]}={value}"]


def _mapping(values: dict[Any, Any], group: str) -> dict[Any, Any]:
    found = values.get(group)
    return found if isinstance(found, dict) else {}
