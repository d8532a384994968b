"""Which run folder belongs to a configuration.

Its name holds a hash of everything that determines θ̂, so that two configurations never mix. A folder that the
user names with `output_dir` is held to the same rule by comparing the configuration written in it.
"""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from erm.paths import expanded
from repro.configuration.compose import Config
from repro.configuration.schema import FIRST_NAMES
from repro.errors import StageError, UsageError
from repro.folder.manifest import file_checksum
from repro.folder.paths import RunFolder
from repro.folder.stored_config import StoredConfigError, read_stored_config
from repro.printable import printable

DETERMINES_THETA = ("data", "model", "fit")
NPZ = "erm.data.npz.load_npz"
PATH, CONTENT = "data.path", "data.content"
"""Of a file of one's own the content counts, not how its path was typed."""
NOT_DETERMINING = {("data", "root")}
"""Where the data lie does not change them; their checksum is compared instead."""


def determining(values: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that determines θ̂, as dotted keys; for data=npz with its content."""
    content = _content(values)
    return _as_typed(values) | ({} if content is None else {CONTENT: content})


def _as_typed(values: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{group}.{key}": FIRST_NAMES.get(str(value), value) if key == "_target_" else value
        for group in DETERMINES_THETA
        for key, value in values.get(group, {}).items()
        if (group, key) not in NOT_DETERMINING
    }


def _content(values: dict[str, Any]) -> str | None:
    """SHA-256 of the file that data=npz names; None where there is none, which reading it will say."""
    if values["data"].get("_target_") != NPZ:
        return None
    path = expanded(values["data"]["path"])
    if not path.is_file():
        return None
    try:
        found = path.stat()
        return _checksum(path.absolute(), found.st_size, found.st_mtime_ns)
    except OSError:
        return None


@functools.cache
def _checksum(path: Path, size: int, changed: int) -> str:
    """Kept while the file's size and time of change stay."""
    return file_checksum(path)


def run_folder(config: Config) -> RunFolder:
    """The folder of this configuration; it need not exist yet.

    Raises:
        UsageError: `output_dir` names something that is not a folder, or one that cannot be written.
    """
    named = config["output_dir"]
    path = _named_by_hash(config) if named is None else expanded(named)
    check_writable(path, "output_dir=")
    return RunFolder(path)


def folder_beside(config: Config, name: str, other: Config) -> Path | None:
    """Where the run of another configuration belongs that stands beside a run, under a name of its own there.

    FOLDER-NAME where the user named FOLDER; a folder named by hash beside one that is named by hash; None
    where neither has a name yet.
    """
    if config["output_dir"] is None:
        return None
    path = expanded(config["output_dir"])
    if path.name in ("", ".."):
        # "." and ".." have no name of their own.
        path = path.resolve()
    by_hash = path.name == _named_by_hash(config).name
    return path.with_name(_named_by_hash(other).name if by_hash else f"{path.name}-{name}")


def _named_by_hash(config: Config) -> Path:
    """By the content of a file of data and not by its path, unless a run is there that was named by that."""
    typed = _as_typed(config.values)
    by_path = _with_digest(config, typed)
    content = _content(config.values)
    if content is None or by_path.exists():
        return by_path
    others = {key: value for key, value in typed.items() if key != PATH}
    return _with_digest(config, others | {CONTENT: content})


def _with_digest(config: Config, determines: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(determines, sort_keys=True).encode()).hexdigest()
    return Path("outputs") / f"{config.choices['data']}-{config.choices['model']}-{digest[:8]}"


def check_writable(path: Path, typed: str) -> None:
    """Refuse before any work what could not be written after it, `typed` being what stands before the path.

    Raises:
        UsageError: a file is in the way, or the user may not write there.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UsageError(f"{typed}{path}: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{typed}{path}: {existing} cannot be written by this user")


def check_same_configuration(folder: RunFolder, config: Config, content: str | None = None) -> None:
    """Refuse a folder whose `config.yaml` says that its θ̂ is another one.

    Args:
        content: of the file of data that θ̂ was trained on, as its facts have it; None where they have none.

    Raises:
        StageError: both values of every key that differs.
    """
    if not folder.config.exists():
        return
    try:
        # A stranger's file may name any path: nothing is read there.
        theirs = _as_typed(read_stored_config(folder.config))
    except (StoredConfigError, AttributeError) as error:
        raise StageError(
            f"{folder.config} cannot be read: {printable(str(error))}. Move the folder away or choose "
            "another output_dir"
        ) from error
    if content is not None:
        theirs[CONTENT] = content
    different = describe_differences(theirs, determining(config.values))
    if different:
        raise StageError(
            f"{folder.path} holds a run of another configuration:\n{different}\n"
            "Give the same values, or another output_dir"
        )


def describe_differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """A line for each key whose values differ, with both; empty when none does.

    Another path to a file of data is no difference where the content is the same. Another content at the same
    path is none here: the checksum of the examples tells that.
    """
    if (content := ours.get(CONTENT)) is not None and theirs.get(CONTENT) == content:
        theirs = theirs | {PATH: ours[PATH]}
    theirs, ours = ({k: v for k, v in found.items() if k != CONTENT} for found in (theirs, ours))
    return "\n".join(
        f"  {printable(key)}: {printable(str(theirs.get(key, '(absent)')))} there, "
        f"{ours.get(key, '(absent)')} asked for"
        for key in sorted({*ours, *theirs})
        if ours.get(key, "(absent)") != theirs.get(key, "(absent)")
    )
