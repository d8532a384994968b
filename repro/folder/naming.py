"""Which run folder belongs to a configuration.

Its name holds a hash of everything that determines θ̂, so that two configurations never mix. A folder that the
user names with `output_dir` is held to the same rule by comparing the configuration written in it.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from repro.configuration.compose import Config
from repro.configuration.schema import FIRST_NAMES
from repro.errors import StageError, UsageError
from repro.folder.paths import RunFolder
from repro.folder.stored_config import StoredConfigError, read_stored_config
from repro.printable import printable

DETERMINES_THETA = ("data", "model", "fit")
NOT_DETERMINING = {("data", "root")}
"""Where the data lie does not change them; their checksum is compared instead."""


def determining(values: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that determines θ̂, as dotted keys."""
    return {
        f"{group}.{key}": FIRST_NAMES.get(str(value), value) if key == "_target_" else value
        for group in DETERMINES_THETA
        for key, value in values.get(group, {}).items()
        if (group, key) not in NOT_DETERMINING
    }


def run_folder(config: Config) -> RunFolder:
    """The folder of this configuration; it need not exist yet.

    Raises:
        UsageError: `output_dir` names something that is not a folder, or one that cannot be written.
    """
    if config["output_dir"] is None:
        digest = hashlib.sha256(json.dumps(determining(config.values), sort_keys=True).encode()).hexdigest()
        path = Path("outputs") / f"{config.choices['data']}-{config.choices['model']}-{digest[:8]}"
    else:
        path = Path(config["output_dir"]).expanduser()
    _check_writable(path)
    return RunFolder(path)


def _check_writable(path: Path) -> None:
    """Refuse before any work what could not be written after it. Writes nothing itself."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise UsageError(f"output_dir={path}: {existing} is a file, not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"output_dir={path}: {existing} cannot be written by this user")


def check_same_configuration(folder: RunFolder, config: Config) -> None:
    """Refuse a folder whose `config.yaml` says that its θ̂ is another one.

    Raises:
        StageError: both values of every key that differs.
    """
    if not folder.config.exists():
        return
    try:
        theirs = determining(read_stored_config(folder.config))
    except (StoredConfigError, AttributeError) as error:
        raise StageError(
            f"{folder.config} cannot be read: {printable(str(error))}. Move the folder away or choose "
            "another output_dir"
        ) from error
    different = describe_differences(theirs, determining(config.values))
    if different:
        raise StageError(
            f"{folder.path} holds a run of another configuration:\n{different}\n"
            "Give the same values, or another output_dir"
        )


def describe_differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """A line for each key whose values differ, with both; empty when none does."""
    return "\n".join(
        f"  {printable(key)}: {printable(str(theirs.get(key, '(absent)')))} there, "
        f"{ours.get(key, '(absent)')} asked for"
        for key in sorted({*ours, *theirs})
        if ours.get(key, "(absent)") != theirs.get(key, "(absent)")
    )
