"""Reading the configuration that lies in a run folder: as data, whoever wrote it.

A YAML loader makes plain containers of it and nothing else; what is checked is what is used afterwards. What
this tool never writes is refused before it is parsed: tags, which name classes, and aliases, which make few
bytes many.
"""

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

LARGEST = 1_000_000
"""Bytes; what this tool writes has some thousands."""
DEEPEST = 30
"""Mappings and lists within each other; the parser takes minutes for thousands."""
TARGET = "_target_"


class StoredConfigError(Exception):
    """A file holds no configuration as this tool writes it; the message completes "cannot be read: "."""


def read_stored_config(path: Path) -> dict[Any, Any]:
    """The file's mapping in plain containers. No interpolation is resolved, no object is made.

    Raises:
        StoredConfigError: it cannot be read, or holds what this tool never writes.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise StoredConfigError(f"it has more than {LARGEST:,} bytes")
        values = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise StoredConfigError(_on_one_line(error)) from error
    if not isinstance(values, dict):
        raise StoredConfigError("it holds no mapping")
    return values


def targets(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every `_target_` in a tree of dicts and lists: its dotted key and what it names, whatever that is."""
    if isinstance(node, dict):
        for name, value in node.items():
            inner = f"{key}.{name}" if key else str(name)
            if name == TARGET:
                yield inner, value
            yield from targets(value, inner)
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from targets(value, f"{key}[{position}]")


def interpolations(node: Any, key: str) -> Iterator[str]:
    """The dotted keys of a tree where a string holds ${…}, in a key or in a value."""
    if isinstance(node, str) and "${" in node:
        yield key
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from interpolations(name, f"{key}.{name}")
            yield from interpolations(value, f"{key}.{name}")
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from interpolations(value, f"{key}[{position}]")


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """Kept, as one command reads the same file several times."""
    _refuse_what_is_never_written(text)
    return OmegaConf.to_container(OmegaConf.create(text), resolve=False)


def _refuse_what_is_never_written(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise StoredConfigError(f"it has more than {DEEPEST} mappings and lists within each other")
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            raise StoredConfigError(f"it has an anchor or alias, {anchor}")
        if tag is not None:
            raise StoredConfigError(f"it has a tag, {tag}")


def _on_one_line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
