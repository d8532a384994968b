"""Which configuration files there are: the package's, and those of a folder of one's own.

REPRO_CONFIG_DIR=DIR adds DIR to Hydra's search path, as --config-dir does for any Hydra program, and to the
modules that `_target_` can name. Being in the environment, it reaches every process that a command starts.
"""

import functools
import os
import re
import sys
from pathlib import Path

from erm.paths import expanded
from repro.errors import UsageError

VARIABLE = "REPRO_CONFIG_DIR"
TARGET = re.compile(r"^ *_target_: *([\w.]+)$", re.MULTILINE)
PACKAGE = Path(__file__).parents[1]
CONFIG_FOLDER = next(f for f in (PACKAGE / "configs", PACKAGE.parent / "configs") if f.is_dir())
"""Pure YAML: in an installed wheel within this package, in a checkout beside it."""


def own_folder() -> Path | None:
    """The user's own folder, absolute; None when there is none.

    Raises:
        UsageError: the variable names no folder.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = expanded(named).absolute()
    if not folder.is_dir():
        raise UsageError(f"{VARIABLE}={named}: there is no such folder")
    return folder


def config_files() -> dict[str, dict[str, Path]]:
    """The files that can be chosen, by group and by name, own ones included.

    Raises:
        UsageError: an own file has the name of one of the package's, which Hydra would take in its place, or
            one that is none.
    """
    found = {
        folder.name: _files(folder)
        for folder in sorted(CONFIG_FOLDER.iterdir())
        if folder.is_dir() and _files(folder)
    }
    own = own_folder()
    if own is None:
        return found
    for group, known in found.items():
        added = _files(own / group)
        for name in added:
            if not is_name(name):
                raise UsageError(f"{name!a} in {own / group}: a name begins with a letter or a digit")
        for name in sorted(added.keys() & known.keys()):
            raise UsageError(f"{added[name]}: {group}={name} is there already; give your file another name")
        found[group] = dict(sorted((known | added).items()))
    return found


@functools.cache
def shipped_targets() -> frozenset[str]:
    """What the package's own files name by `_target_`."""
    texts = (path.read_text(encoding="utf-8") for path in CONFIG_FOLDER.glob("*/*.yaml"))
    return frozenset(target for text in texts for target in TARGET.findall(text))


def is_name(name: str) -> bool:
    """Whether a file may be chosen by this name, and results be named by it.

    So that no command line takes it for an option, no spreadsheet for a formula, no terminal for an order.
    """
    return name.isprintable() and (name[:1].isalnum() or name[:1] == "_")


def groups() -> dict[str, list[str]]:
    """Every config group and the files that can be chosen in it."""
    return {group: list(files) for group, files in config_files().items()}


def where_own_files_belong(group: str) -> str:
    """A sentence for the message that a choice is unknown: where else it was looked for."""
    own = own_folder()
    return "" if own is None else f" (looked also in {own / group})"


def search_path() -> list[str]:
    """The override that makes Hydra look in the own folder after the package; none without such a folder."""
    own = own_folder()
    if own is None:
        return []
    # Hydra resolves no interpolation here, so none is escaped.
    quoted = str(own).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


def make_own_modules_importable() -> None:
    """Let `_target_` name a module in the own folder; last, so that it shadows nothing that is installed."""
    own = own_folder()
    if own is not None and str(own) not in sys.path:
        sys.path.append(str(own))


def _files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
