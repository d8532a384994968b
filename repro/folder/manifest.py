"""checksums.json: which bytes each result may hold, so that a damaged or foreign file is never used.

Before a result is replaced, the new bytes are entered beside those that are there, so a kill at any moment
leaves a file that the manifest knows. Weight files are not in it: they are many and vouch for themselves.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import SafetensorError

from erm.files import set_aside, write_atomically, write_json
from repro.errors import UsageError
from repro.folder.inside import is_inside
from repro.folder.paths import RunFolder
from repro.printable import printable

RESULTS = (
    "config.yaml", "provenance.json", "fit.safetensors", "model.safetensors", "leave_one_out.csv",
    "summary.json", "diagnosis.json", "compare.csv", "influence/*.csv", "influence/*.json",
    "retrain/record.json", "groups.csv", "groups.json", "removals.json", "removals.npz",
    "influence/*.safetensors", "l2_terms.safetensors",
)  # fmt: skip
"""What a command may read, or take for a result: none of these is used unless the manifest knows it."""
FORMAT = 1

Manifest = dict[str, list[str]]
"""By path inside the folder, the SHA-256 of the contents it may have: the last two that were written."""
_FILES = TypeAdapter(Manifest)


def write_result(folder: RunFolder, path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file, enter its checksum into the manifest, and put it in its place."""

    def vouch(temporary: Path) -> None:
        manifest = read_manifest(folder) or {}
        name = path.relative_to(folder.path).as_posix()
        manifest[name] = [*manifest.get(name, [])[-1:], file_checksum(temporary)]
        _write_manifest(folder, manifest)

    try:
        write_atomically(path, write, before_replacing=vouch)
    except SafetensorError as error:
        # What the library makes of a full disk.
        raise OSError(errno.EIO, str(error), str(path)) from error


def remove_result(folder: RunFolder, path: Path) -> None:
    """Remove a file that is of no use any more, and its entry: a check does not miss it."""
    manifest = read_manifest(folder) or {}
    if manifest.pop(path.relative_to(folder.path).as_posix(), None) is not None:
        _write_manifest(folder, manifest)
    path.unlink(missing_ok=True)


def write_text_result(folder: RunFolder, path: Path, text: str) -> None:
    """Write UTF-8 text as a result."""
    write_result(folder, path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json_result(folder: RunFolder, path: Path, value: Any) -> None:
    """Write JSON as a result; NaN and the infinities, which JSON lacks, become null."""
    write_result(folder, path, lambda temporary: write_json(temporary, value))


def set_aside_unsound(folder: RunFolder, warn: Callable[[str], None]) -> None:
    """Rename what the manifest does not vouch for, so that no command uses it, and say so.

    Args:
        folder: the run; no other command is at work in it.
        warn: called with a line for each file.
    """
    manifest = read_manifest(folder)
    if manifest is None and folder.manifest.exists():
        warn(f"{folder.manifest} is damaged; set aside as {set_aside(folder.manifest).name}")
    for path in sorted(_results(folder, manifest or {})):
        known = (manifest or {}).get(path.relative_to(folder.path).as_posix(), [])
        if file_checksum(path) not in known:
            kind = "is not as it was written" if known else "was not written by this tool"
            aside = printable(set_aside(path).name)
            warn(f"{printable(str(path))} {kind}; set aside as {aside}. Its stage makes it again")
    for leftover in folder.path.rglob(".unfinished-*"):
        leftover.unlink(missing_ok=True)


def read_manifest(folder: RunFolder) -> Manifest | None:
    """The manifest; None when it is missing, damaged or of another format.

    Raises:
        UsageError: it is sound and names what is not in the folder, as none does that this tool has written.
    """
    try:
        content = json.loads(folder.manifest.read_text(encoding="utf-8"))
        files = _FILES.validate_python(content["files"], strict=True)
        if content["format"] != FORMAT or content["checksum"] != _checksum(files):
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    for name in files:
        if not is_inside(name):
            raise UsageError(
                f"{folder.manifest} names {printable(name)}, which is not in the run folder; this tool has "
                "not written that. Nothing was done"
            )
    return files


def file_checksum(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _results(folder: RunFolder, manifest: Manifest) -> Iterator[Path]:
    """Files that are there: those a command may read, and those that the manifest names, once each."""
    found = {path for pattern in RESULTS for path in folder.path.glob(pattern)}
    found |= {folder.path / name for name in manifest}
    return (path for path in found - {folder.manifest} if path.is_file())


def _write_manifest(folder: RunFolder, manifest: Manifest) -> None:
    content = {"format": FORMAT, "files": dict(sorted(manifest.items()))}
    write_json(folder.manifest, content | {"checksum": _checksum(content["files"])})


def _checksum(files: object) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
