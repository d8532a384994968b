"""A composed tree against the schema: types, ranges, and messages that name key and value."""

import difflib
import functools
from typing import Any

from pydantic import ValidationError

from erm.settings import Fault, faults_of, schema_of, schema_of_class
from repro.configuration.declared import declared
from repro.configuration.files import groups, make_own_modules_importable, shipped_targets
from repro.configuration.mistakes import no_such_value
from repro.configuration.moved import MOVED
from repro.configuration.schema import FIRST_NAMES, Top, settings_of_group
from repro.errors import UsageError
from repro.printable import printable

MADE_OF = ("data", "model", "fit", "influence", "removals")
"""The groups that objects are made of: their files are known by the `_target_`."""


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
        **_validated(schema_of_class(Top), top, ""),
        **{group: _validated_target(nodes[group], f"{group}.") for group in MADE_OF},
        **{
            group: _validated(schema, nodes[group], f"{group}.")
            for group in groups()
            if (schema := _of_group(group)) is not None
        },
    }


def _validated_target(node: dict[str, Any], prefix: str) -> dict[str, Any]:
    settings = {key: value for key, value in node.items() if key != "_target_"}
    target = _present_name(node.get("_target_", ""))
    if target in shipped_targets():
        return {"_target_": target, **_validated(_of_target(target), settings, prefix)}
    make_own_modules_importable()
    # What is declared is checked here; what is not, the constructor judges.
    own = {key: setting for key, setting in declared(str(target)).items() if key in settings}
    return node | _validated(schema_of(own), {key: settings[key] for key in own}, prefix)


@functools.cache
def _of_group(group: str) -> Any:
    settings = settings_of_group(group)
    return None if settings is None else schema_of(settings)


@functools.cache
def _of_target(target: str) -> Any:
    """Of one of the package's own."""
    return schema_of(declared(target))


def _present_name(target: str) -> str:
    """What a target is called now."""
    return next((now for now, first in FIRST_NAMES.items() if first == target), target)


def is_shipped(target: str) -> bool:
    """Whether a target is one of the package's own."""
    return _present_name(target) in shipped_targets()


def are_settings(node: dict[str, Any]) -> bool:
    """Whether a group's settings, as a record holds them, are such as its target takes.

    Those of a target of one's own are judged by it; their keys have to be names.
    """
    if not is_shipped(str(node.get("_target_"))):
        return all(key.isidentifier() for key in node)
    try:
        _validated_target(node, "")
    except (UsageError, TypeError):
        return False
    return True


def _validated(schema: Any, node: dict[str, Any], prefix: str) -> dict[str, Any]:
    try:
        checked = schema(**node)
    except ValidationError as error:
        raise UsageError("\n".join(_complaints(error, prefix))) from error
    return {key: getattr(checked, key) for key in node}


def _complaints(error: ValidationError, prefix: str) -> list[str]:
    """One line a faulty key: key, value, and what is allowed."""
    by_key: dict[str, list[Fault]] = {}
    for fault in faults_of(error):
        by_key.setdefault(printable(f"{prefix}{fault.key}"), []).append(fault)
    return [
        f"{key}={printable(str(faults[0].value))}: {_wrong(key, faults)}" for key, faults in by_key.items()
    ]


def _wrong(key: str, faults: list[Fault]) -> str:
    """What is wrong with a value, by all that was said of it."""
    if (meant := no_such_value(key, faults[0].value)) is not None:
        return printable(meant)
    expected = dict.fromkeys(fault.expected for fault in faults)
    return f"there is {_no_such(key)}" if "" in expected else f"expected {' or '.join(expected)}"


def _no_such(key: str) -> str:
    return "no such key" + (f": it is now {MOVED[key]}" if key in MOVED else "")


def nearest(name: str, known: list[str]) -> str:
    """A sentence with the names that were perhaps meant."""
    same = [name.lower()] if name.lower() in known else []
    close = same or difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"There are: {', '.join(known)}" if len(known) <= 12 else "`repro config` prints all keys"
