"""Keys that had another name once: a command line is answered with the new one, an old file is still read."""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override

MOVED = {"influence.test_index": "test_index", "influence.top_k": "top_k"}
"""The present name of a key, by the one that it had."""


def moved(overrides: Sequence[Override]) -> str | None:
    """A line with what to type in place of overrides that name keys as they once were; None without such."""
    old = {str(found.key_or_group): _value(found) for found in overrides if found.key_or_group in MOVED}
    if not old:
        return None
    now = {MOVED[key]: value for key, value in old.items()}
    verb = "is" if len(old) == 1 else "are"
    words = shlex.join(f"{key}={value}" for key, value in now.items())
    return f"{', '.join(old)} {verb} now {', '.join(now)}: {words}"


def in_present_names(values: dict[Any, Any]) -> dict[Any, Any]:
    """A configuration as a run folder holds it, with every key where it is now."""
    influence = dict(_mapping(values, "influence"))
    top = {}
    for old, now in MOVED.items():
        key = old.removeprefix("influence.")
        # A solver of one's own may have a setting of such a name; then the key itself is there already.
        if key in influence and now not in values:
            top[now] = influence.pop(key)
    return values | top | ({"influence": influence} if top else {})


def _mapping(values: dict[Any, Any], group: str) -> dict[Any, Any]:
    found = values.get(group)
    return found if isinstance(found, dict) else {}


def _value(override: Override) -> str:
    return str(override.input_line).partition("=")[2]
