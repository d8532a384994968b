"""Which keys the choices of a group have, and what was perhaps meant by a key that is not there."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from repro.configuration.files import config_files
from repro.configuration.tree import file_settings
from repro.configuration.validation import nearest


def no_key(key: str, at_hand: Collection[str], choices: Mapping[str, str], method_is_named: bool) -> str:
    """Why a key cannot be given a value, and one that can, or the choice that has it.

    Args:
        key: as typed, such as data.num_trian.
        at_hand: the dotted keys of the configuration that is composed.
        choices: which file of each group it was composed of.
        method_is_named: whether `--method` chose the method, so that `influence=` would have no effect.
    """
    group, _, name = key.rpartition(".")
    having = _choices_having(method_is_named)
    if key in having:
        chosen = _choice(group.split(".")[0], choices, method_is_named)
        return f"{key} is no setting of {chosen}, which is chosen here; {_have(having[key])} it"
    wrong = f"there is no key {key}"
    if meant := _same_name(name, at_hand) or _close(key, at_hand):
        return f"{wrong}. Did you mean {' or '.join(meant)}?"
    if meant := _same_name(name, having) or _close(key, having):
        there = (f"{known}, which {_have(having[known])}" for known in meant)
        return f"{wrong}. Did you mean {'; or '.join(there)}?"
    return f"{wrong}. {nearest(key, [known for known in sorted(at_hand) if _is_setting(known, at_hand)])}"


def methods_having(key: str) -> str:
    """A clause with the methods that have a setting; empty where there are none."""
    having = _choices_having(method_is_named=True).get(key)
    return f"; {_have(having)} it" if having else ""


def all_keys() -> set[str]:
    """Every dotted key of every file of every group."""
    return {key for _, _, key in _keys_of_files()}


def dotted(node: Mapping[Any, Any], prefix: str = "") -> set[str]:
    """The keys of a tree, each with those above it: data, data.root."""
    keys = set()
    for key, value in node.items():
        keys.add(f"{prefix}{key}")
        if isinstance(value, Mapping):
            keys |= dotted(value, f"{prefix}{key}.")
    return {key for key in keys if "_target_" not in key and "defaults" not in key}


def _choices_having(method_is_named: bool) -> dict[str, list[str]]:
    """The choices that have a key, as they are typed, by the key."""
    found = dict[str, list[str]]()
    for group, name, key in _keys_of_files():
        if key.startswith(f"{group}."):
            found.setdefault(key, []).append(_choice(group, {group: name}, method_is_named))
    return found


def _have(choices: list[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} and {last} have" if others else f"{last} has"


def _choice(group: str, choices: Mapping[str, str], method_is_named: bool) -> str:
    option = "--method " if group == "influence" and method_is_named else f"{group}="
    return f"{option}{choices.get(group)}"


def _keys_of_files() -> Iterator[tuple[str, str, str]]:
    """Group, file and dotted key."""
    for group, files in config_files().items():
        # An experiment sets keys of the whole tree.
        prefix = "" if group == "experiment" else f"{group}."
        for name, path in files.items():
            node = file_settings(path)
            if isinstance(node, dict):
                yield from ((group, name, key) for key in dotted(node.get(group, node), prefix))


def _same_name(name: str, known: Collection[str]) -> list[str]:
    return sorted(key for key in known if key.rpartition(".")[2] == name and _is_setting(key, known))


def _close(key: str, known: Collection[str]) -> list[str]:
    """The keys of the same group, or the keys and groups of the top, that are called alike."""
    group, _, name = key.rpartition(".")
    names = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == group]
    prefix = f"{group}." if group else ""
    return [f"{prefix}{close}" for close in difflib.get_close_matches(name, names, n=3, cutoff=0.6)]


def _is_setting(key: str, known: Collection[str]) -> bool:
    """Whether a key is given a value by itself, as a group is not."""
    return not any(other.startswith(f"{key}.") for other in known)
