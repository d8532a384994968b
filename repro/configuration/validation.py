"""A composed tree against the schema: types, ranges, and messages that name key and value."""

import difflib
from typing import Any

from pydantic import ValidationError

from repro.configuration.files import groups
from repro.configuration.moved import MOVED
from repro.configuration.schema import FIRST_NAMES, GROUPS, SETTINGS, Top
from repro.errors import UsageError
from repro.printable import printable

MADE_OF = ("data", "model", "fit", "influence", "removals")
"""The groups that objects are made of."""


def checked(values: dict[Any, Any]) -> dict[str, Any]:
    """The values, every one checked, and whole numbers turned into floats where floats are meant.

    Raises:
        UsageError: a value of the wrong type or out of range.
    """
    top = {key: value for key, value in values.items() if not isinstance(value, dict)}
    nodes = {key: value for key, value in values.items() if isinstance(value, dict)}
    for name in nodes.keys() - set(groups()):
        raise UsageError(f"{printable(str(name))}: no such group. {nearest(name, list(groups()))}")
    return {
        **_validated(Top, top, ""),
        **{group: _validated_target(nodes[group], f"{group}.") for group in MADE_OF},
        **{group: _validated(schema, nodes[group], f"{group}.") for group, schema in GROUPS.items()},
    }


def _validated_target(node: dict[str, Any], prefix: str) -> dict[str, Any]:
    settings = {key: value for key, value in node.items() if key != "_target_"}
    target = _present_name(node.get("_target_", ""))
    schema = SETTINGS.get(target)
    if schema is None:
        return node
    return {"_target_": target, **_validated(schema, settings, prefix)}


def _present_name(target: str) -> str:
    """What a target is called now."""
    return next((now for now, first in FIRST_NAMES.items() if first == target), target)


def is_shipped(target: str) -> bool:
    """Whether a target is one of the package's own."""
    return _present_name(target) in SETTINGS


def are_settings(node: dict[str, Any]) -> bool:
    """Whether a group's settings, as a record holds them, are such as its target takes.

    Those of a target of one's own are judged by it; their keys have to be names.
    """
    if _present_name(str(node.get("_target_"))) not in SETTINGS:
        return all(key.isidentifier() for key in node)
    try:
        _validated_target(node, "")
    except (UsageError, TypeError):
        return False
    return True


def _validated(schema: type, node: dict[str, Any], prefix: str) -> dict[str, Any]:
    try:
        checked = schema(**node)
    except ValidationError as error:
        raise UsageError("\n".join(_complaints(error, prefix))) from error
    return {key: getattr(checked, key) for key in node}


def _complaints(error: ValidationError, prefix: str) -> list[str]:
    """One line a faulty key: key, value, and what is allowed."""
    by_key: dict[str, tuple[Any, list[str]]] = {}
    for fault in error.errors():
        key, value = printable(f"{prefix}{fault['loc'][0]}"), printable(str(fault["input"]))
        wanted = _no_such(key) if fault["type"] == "unexpected_keyword_argument" else fault["msg"]
        by_key.setdefault(key, (value, []))[1].append(wanted.replace("Input should be ", ""))
    return [
        f"{key}={value}: expected {' or '.join(dict.fromkeys(messages))}"
        for key, (value, messages) in by_key.items()
    ]


def _no_such(key: str) -> str:
    return "no such key" + (f": it is now {MOVED[key]}" if key in MOVED else "")


def nearest(name: str, known: list[str]) -> str:
    """A sentence with the names that were perhaps meant."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"There are: {', '.join(known)}" if len(known) <= 12 else "`repro config` prints all keys"
