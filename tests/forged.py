"""Run folders that a stranger has forged: every checksum matches, so nothing but what is said is wrong."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import save_file

from repro.folder.manifest import read_manifest, write_json_result, write_result, write_text_result
from repro.folder.paths import RunFolder
from tests.command_line import FAST

SETTINGS = (*FAST, "influence=cg", "test_index=3")
"""The overrides that made the run, less its folder."""


class Touch:
    """A pickle of this creates a file when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.canary,)


def write_pickle(path: Path, canary: Path) -> Path:
    """A file that creates `canary` when it is unpickled."""
    path.write_bytes(pickle.dumps(Touch(canary)))
    return path


def forge_config(folder: RunFolder, **groups: Any) -> None:
    """Other contents for these top-level keys of config.yaml."""
    values: Any = OmegaConf.to_container(OmegaConf.load(folder.config))
    write_config(folder, OmegaConf.to_yaml(OmegaConf.create(values | groups)))


def write_config(folder: RunFolder, text: str) -> None:
    """Any text as config.yaml."""
    write_text_result(folder, folder.config, text)


def forge_json(folder: RunFolder, path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """A JSON file after a change."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json_result(folder, path, content)


def forge_facts(folder: RunFolder, change: Callable[[dict[str, Any]], object]) -> None:
    """What model.safetensors says of θ̂, after a change."""
    with safe_open(folder.model, framework="pt") as file:
        theta, facts = file.get_tensor("theta"), json.loads(file.metadata()["facts"])
    change(facts)
    metadata = {"facts": json.dumps(facts)}
    write_result(folder, folder.model, lambda path: save_file({"theta": theta}, path, metadata=metadata))


def forge_manifest(folder: RunFolder, **names: list[str]) -> None:
    """Further names in checksums.json, under a checksum that is right."""
    from repro.folder.manifest import _write_manifest

    _write_manifest(folder, (read_manifest(folder) or {}) | names)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file of a folder but the lock by its relative path; None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }
