"""Writing a file so that a kill leaves the old one or the new one, never a torn one."""

import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(
    path: Path, write: Callable[[Path], Any], before_replacing: Callable[[Path], None] | None = None
) -> None:
    """Let `write` fill a temporary file in the same folder, flush it to disk, and rename it to `path`.

    Args:
        before_replacing: called with the temporary file once it is complete and on disk.

    Raises:
        OSError: the folder cannot be written; `path` is then as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: writers such as matplotlib choose their format by it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".unfinished-", suffix=path.suffix)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp makes files that only their owner reads; results are for everyone whom the umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _flush(temporary)
        if before_replacing is not None:
            before_replacing(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def cannot_be_written(path: Path, error: OSError) -> OSError:
    """The same error, of the file or folder that is wanted in place of what was tried on the way."""
    said = f"cannot be written ({error.strerror}); name a folder that can be"
    return OSError(error.errno, said, str(path))


def set_aside(path: Path) -> Path:
    """Rename a file out of the way, to a name that nothing reads and nothing had; the new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    return path.rename(aside)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically. NaN and the infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(without_non_finite(value), indent=2, allow_nan=False) + "\n")


def without_non_finite(value: Any) -> Any:
    """The same containers with None for NaN and the infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {key: without_non_finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_non_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
