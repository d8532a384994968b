"""A run folder as an address: a command that is given one reads its configuration there.

The configuration in the folder may be a stranger's. It is read as data; the file of each group is found by
the `_target_` that it names, among this tool's files and those of the user's own folder, so it can choose
code but bring none; and its values go through the same checks as those of a command line.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erm.paths import expanded
from repro.configuration.files import config_files
from repro.configuration.grammar import override
from repro.configuration.mistakes import no_override, no_run
from repro.configuration.moved import in_present_names
from repro.configuration.tree import file_settings
from repro.configuration.validation import MADE_OF
from repro.errors import UsageError
from repro.folder.inside import refuse_what_leads_out
from repro.folder.manifest import file_checksum, read_manifest
from repro.folder.paths import RunFolder
from repro.folder.stored_config import StoredConfigError, read_stored_config
from repro.printable import printable

CONFIG = "config.yaml"
PLACES = ("root",)
"""Keys of data that say where it lies on the machine of the run: used only where it lies there still."""


@dataclass(frozen=True)
class Words:
    """What follows a command: perhaps a run folder, and overrides."""

    folder: Path | None
    overrides: tuple[str, ...]


def split_words(words: Sequence[str]) -> Words:
    """Tell the run folder from the overrides.

    Raises:
        UsageError: a folder holds no run, or two are named, or one beside output_dir.
    """
    folders = [expanded(word) for word in words if _is_folder(word)]
    overrides = tuple(word for word in words if not _is_folder(word))
    if not folders:
        return Words(None, overrides)
    if len(folders) > 1:
        raise UsageError(f"{folders[0]} and {folders[1]}: a command takes one run folder")
    (folder,) = folders
    if any(text.startswith("output_dir=") for text in overrides):
        raise UsageError(f"{folder} is the run folder already; leave out output_dir=…")
    if not (folder / CONFIG).is_file():
        raise UsageError(no_run(folder, CONFIG))
    return Words(folder, overrides)


def _is_folder(word: str) -> bool:
    """Whether a word is a path: no override has none of = and ~, and none begins with a dash or a plus."""
    # Not `Path.is_dir`, which fails where a list of indices is too long for a name.
    if "=" in word and not os.path.isdir(word):  # noqa: PTH112
        return False
    if expanded(word).is_dir():
        return True
    if "/" in word and "=" not in word:
        raise UsageError(f"{no_override(word)}; nor is there such a run folder")
    return False


def stored_overrides(folder: Path, chosen: Mapping[str, str]) -> list[str]:
    """The overrides that lead to the configuration of a run folder.

    Args:
        folder: the run folder.
        chosen: groups that are chosen anew; another file of one does not have the settings of the stored one.

    Raises:
        UsageError: the configuration cannot be read, or names what no file defines.
    """
    path = folder / CONFIG
    refuse_what_leads_out(folder)
    if file_checksum(path) not in (read_manifest(RunFolder(folder)) or {}).get(CONFIG, []):
        raise UsageError(
            f"{path} is not as this tool wrote it, so it is no address any more. Give the overrides that the "
            f"run was made with, and output_dir={folder}"
        )
    try:
        values = in_present_names(read_stored_config(path))
    except StoredConfigError as error:
        raise UsageError(f"{path} cannot be read: {printable(str(error))}") from error
    names = {group: _file(group, values.get(group)) for group in MADE_OF}
    kept = {group: name for group, name in names.items() if chosen.get(group, name) == name}
    for group, name in kept.items():
        if name is None:
            target = printable(str((values.get(group) or {}).get("_target_")))
            raise UsageError(
                f"{path} names {group}._target_={target}, which no file of configs/{group} has. If it is "
                "your own, set REPRO_CONFIG_DIR=FOLDER to the folder that holds it"
            )
    known = {
        group: _but_what_is_chosen(str(group), node, chosen)
        for group, node in values.items()
        if group not in MADE_OF or group in kept
    }
    _check_path(folder, known, chosen)
    found = [f"{group}={name}" for group, name in kept.items()]
    return [*found, *settings_as_overrides(known), override("output_dir", str(folder))]


def _but_what_is_chosen(group: str, node: Any, chosen: Mapping[str, str]) -> Any:
    """The stored settings of a group, less those that a file has which is chosen now, such as plot=paper."""
    file = config_files().get(group, {}).get(chosen.get(group, ""))
    if group in MADE_OF or file is None or not isinstance(node, Mapping):
        return node
    own = file_settings(file)
    return {key: value for key, value in node.items() if key not in own}


def _file(group: str, node: Any) -> str | None:
    """The file of a group that names the same `_target_`; None where there is none."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    for name, file in config_files()[group].items():
        content = file_settings(file)
        if content.get(group, content).get("_target_") == target:
            return name
    return None


def _check_path(folder: Path, values: Mapping[Any, Any], chosen: Mapping[str, str]) -> None:
    """A path of data that is not there was perhaps typed in another working directory."""
    path = (values.get("data") or {}).get("path")
    if isinstance(path, str) and "data.path" not in chosen and not Path(path).expanduser().is_file():
        raise UsageError(
            f"{printable(str(folder))} was made of data.path={printable(path)}, which is no file here; say "
            "where it is now: data.path=FILE"
        )


def settings_as_overrides(values: Mapping[Any, Any]) -> Iterator[str]:
    """KEY=VALUE of every key, group by group; the run folder is none of them."""
    for group, node in values.items():
        if not isinstance(node, Mapping):
            if group != "output_dir":
                yield override(str(group), node)
            continue
        for key, value in node.items():
            gone = group == "data" and key in PLACES and not expanded(str(value)).is_dir()
            if key != "_target_" and not gone:
                yield override(f"{group}.{key}", value)
