"""Paths as they are typed."""

from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with `~` expanded; as it stands where that names no user's home, as a shell leaves it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
