"""From overrides to a checked configuration, in a fraction of a second and without importing torch."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from repro.configuration.address import split_words, stored_overrides
from repro.configuration.files import groups as groups
from repro.configuration.files import where_own_files_belong
from repro.configuration.keys import all_keys, dotted, methods_having, no_key
from repro.configuration.mistakes import no_choice, no_method, no_override, no_value, several_values
from repro.configuration.moved import MOVED, moved
from repro.configuration.tree import Tree, composed_tree
from repro.configuration.validation import checked, nearest
from repro.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """A composed and checked configuration, and the words that made it."""

    values: dict[str, Any]
    """The tree, resolved, as plain containers."""
    choices: dict[str, str]
    """Which file of each group was taken."""
    overrides: tuple[str, ...]
    """As typed: KEY=VALUE each, and perhaps a run folder."""

    def __getitem__(self, group: str) -> Any:
        return self.values[group]

    @property
    def test_points(self) -> tuple[int, ...] | None:
        """The test points that are named, each once; None where the first misclassified one is asked for."""
        asked = self["test_index"]
        if asked == "misclassified":
            return None
        return tuple(dict.fromkeys([asked] if isinstance(asked, int) else asked))

    @property
    def top_k(self) -> int:
        """Points of the scatter for each test point."""
        return int(self["top_k"])

    @property
    def method(self) -> str:
        return self.choices["influence"]

    @property
    def names_method(self) -> bool:
        """Whether the overrides choose a method or set one of its settings."""
        keys = [text.split("=")[0].lstrip("+") for text in self.overrides]
        return any(key == "influence" or key.startswith("influence.") for key in keys)

    @property
    def solver_settings(self) -> dict[str, Any]:
        """What the solver is made with."""
        settings: dict[str, Any] = self["influence"]
        return settings

    def command(self, stage: str, *options: str) -> str:
        """The command line that runs a stage under the same configuration, for people to type."""
        kept = [text for text in self.overrides if not (options and text.startswith("influence="))]
        return shlex.join(["repro", stage, *options, *kept])


def compose(words: Sequence[str], method: str | None = None) -> Config:
    """Compose the tree under these overrides and check every value.

    Args:
        words: as typed: KEY=VALUE each, and perhaps a run folder, whose configuration they change.
        method: file of the influence group to take, over any `influence=` among the overrides.

    Raises:
        UsageError: an unknown key, group or choice, a value of the wrong type or out of range.
    """
    given = split_words(words)
    overrides = [*given.overrides, *([] if method is None else [f"influence={method}"])]
    parsed = parse_overrides(overrides)
    _check_choices(parsed)
    refuse_moved_keys(overrides)
    if given.folder is not None:
        chosen = {str(found.key_or_group): str(found.value()) for found in parsed}
        overrides = [*stored_overrides(given.folder, chosen), *overrides]
    tree = _tree(overrides, method is not None)
    try:
        values = OmegaConf.to_container(tree.values, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UsageError(no_value(str(error.full_key), tree.choices)) from error
    except OmegaConfBaseException as error:
        raise UsageError(f"{error.full_key or 'configuration'}: {_first_line(error)}") from error
    assert isinstance(values, dict)
    return Config(values=checked(values), choices=dict(tree.choices), overrides=tuple(words))


def compose_methods(words: Sequence[str], methods: list[str]) -> list[Config]:
    """One configuration per method. An override of `influence.KEY` reaches the methods that have KEY.

    Raises:
        UsageError: as `compose`; also when no method has such a key.
    """
    if not methods:
        return [compose(words)]
    check_method_names(methods)
    unique = list(dict.fromkeys(methods))
    if len(unique) == 1:
        return [compose(words, unique[0])]
    given = split_words(words)
    folder, overrides = [] if given.folder is None else [str(given.folder)], list(given.overrides)
    refuse_moved_keys(overrides)
    keys = {text: str(found.key_or_group) for text in overrides for found in parse_overrides([text])}
    own = {key for key in keys.values() if key.startswith("influence.")}
    configurations, reached = [], set[str]()
    for method in unique:
        # Only where there is a key to ask for: composing takes a while.
        known = {f"influence.{key}" for key in compose([], method).solver_settings} if own else set()
        kept = [text for text in overrides if keys[text] not in own - known]
        reached |= own & known
        configurations.append(compose([*folder, *kept], method))
    for key in sorted(own - reached):
        raise UsageError(
            f"{key}: none of the methods {', '.join(unique)} has this setting{methods_having(key)}"
        )
    return configurations


def check_method_names(methods: list[str]) -> None:
    """Raise UsageError for a method that no file of the influence group defines."""
    for method in methods:
        if method not in groups()["influence"]:
            raise UsageError(
                no_method(method) or _no_such(f"--method {method}", "method", "influence", method)
            )


def refuse_moved_keys(overrides: list[str]) -> None:
    """Raise UsageError with the present names of keys that had others once."""
    old = [found for found in parse_overrides(overrides) if found.key_or_group in MOVED]
    # A file of one's own may have a key of such a name.
    if old and (gone := [found for found in old if found.key_or_group not in all_keys()]):
        raise UsageError(moved(gone))


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Each override as Hydra reads it.

    Raises:
        UsageError: one is not KEY=VALUE.
    """
    parsed = []
    for text in overrides:
        try:
            parsed.extend(OverridesParser.create().parse_overrides([text]))
        except HydraException as error:
            raise UsageError(no_override(text)) from error
    return parsed


def _check_choices(overrides: list[Override]) -> None:
    known = groups()
    for override in overrides:
        key, value, text = override.key_or_group, override.value(), override.input_line
        if not key or override.is_delete() or key.split(".")[0] == "hydra":
            raise UsageError(f"{text}: keys of this configuration can be given values, not added or removed")
        if override.is_sweep_override():
            raise UsageError(several_values(str(key), str(text)))
        if key in known and value not in [*known[key], *([None] if key == "experiment" else [])]:
            raise UsageError(no_choice(key, str(value)) or _no_such(str(text), key, key, str(value)))


def _no_such(typed: str, kind: str, group: str, name: str) -> str:
    where = where_own_files_belong(group)
    return f"{typed}: no such {kind}{where}. {nearest(name, groups()[group])}"


def _tree(overrides: list[str], method_is_named: bool = False) -> Tree:
    try:
        return composed_tree(overrides)
    except HydraException as error:
        raise UsageError(_explain(error, overrides, method_is_named)) from error
    except YAMLError as error:
        raise UsageError(f"a configuration file is no YAML: {' '.join(str(error).split())}") from error


def _explain(error: HydraException, overrides: list[str], method_is_named: bool) -> str:
    """Hydra's complaint as a line that names the key and one that there is."""
    parsed = parse_overrides(overrides)
    for override in parsed:
        key = str(override.key_or_group)
        if key in groups() or f"'{key}'" not in str(error):
            continue
        tree = _tree([str(o.input_line) for o in parsed if o.key_or_group in groups()])
        plain: Any = OmegaConf.to_container(tree.values, resolve=False)
        at_hand = dotted(plain)
        if override.is_add() and key in at_hand:
            return f"{override.input_line}: {key} is there already; leave out the +"
        return f"{override.input_line}: {no_key(key, at_hand, tree.choices, method_is_named)}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
