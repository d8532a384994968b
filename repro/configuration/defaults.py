"""What is composed without overrides: what settings are held against."""

import functools
from pathlib import Path

from repro.configuration.compose import Config, compose
from repro.configuration.files import CONFIG_FOLDER, own_folder


def defaults(method: str | None = None) -> Config:
    """The configuration without overrides, composed once for as long as no YAML file changes.

    Args:
        method: file of the influence group to take.
    """
    folders = [CONFIG_FOLDER, *([] if (own := own_folder()) is None else [own])]
    files = (path for folder in folders for path in folder.rglob("*.yaml"))
    return _defaults(method, tuple((path, path.stat().st_mtime_ns) for path in files))


@functools.lru_cache(maxsize=16)
def _defaults(method: str | None, files: tuple[tuple[Path, int], ...]) -> Config:
    return compose([], method)
