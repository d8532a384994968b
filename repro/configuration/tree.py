"""Hydra's tree of a configuration, composed once for the files that are chosen.

Most of what Hydra does is reading those files, and a process that composes many configurations, as the stages
of `repro run`, an `Experiment` and the runs of a sweep do, chooses the same ones each time. Only values are
put in anew.
"""

import copy
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from repro.configuration.files import CONFIG_FOLDER, config_files, own_folder, search_path


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What Hydra composed, interpolations not yet resolved."""

    values: DictConfig
    choices: dict[str, str]
    """Which file of each group was taken."""


def composed_tree(overrides: list[str]) -> Tree:
    """The tree under these overrides.

    Raises:
        HydraException: there is no such file or key, or a value does not fit.
        YAMLError: a file is no YAML.
    """
    known = config_files()
    parsed = OverridesParser.create().parse_overrides(overrides)
    last = {(found.key_or_group, found.package): found for found in parsed if found.key_or_group in known}
    # experiment=null is no file: Hydra wants nothing said of it.
    chosen = tuple(str(found.input_line) for found in last.values() if found.value() is not None)
    given = [found for found in parsed if found.key_or_group not in known]
    # Files of one's own may be edited between two calls.
    if own_folder() is None:
        tree = _of_files(chosen)
        try:
            return Tree(values=_with(tree.values, given), choices=tree.choices)
        except OmegaConfBaseException:
            # Hydra has words for what is wrong.
            pass
    return _composed([*chosen, *(str(found.input_line) for found in given)])


def _with(tree: DictConfig, given: list[Override]) -> DictConfig:
    """The tree with values put in, as Hydra does it: no key that is not there."""
    values = copy.deepcopy(tree)
    for found in given:
        if found.type is not OverrideType.CHANGE or found.package is not None:
            raise ConfigKeyError(f"{found.input_line} does more than give a key its value")
        OmegaConf.update(values, found.key_or_group, found.value(), merge=True)
    return values


def file_settings(path: Path) -> Any:
    """What a configuration file says, in plain containers that are to be read only."""
    status = path.stat()
    return _file_settings(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _file_settings(path: Path, modified: int, size: int) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


@functools.lru_cache(maxsize=64)
def _of_files(chosen: tuple[str, ...]) -> Tree:
    return _composed(list(chosen))


def _composed(overrides: list[str]) -> Tree:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        tree = hydra_compose("config", overrides=[*search_path(), *overrides], return_hydra_config=True)
    known = config_files()
    choices = {str(key): str(value) for key, value in tree.hydra.runtime.choices.items() if key in known}
    values = OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])
    OmegaConf.set_struct(values, True)
    return Tree(values=values, choices=choices)
