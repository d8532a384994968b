"""`repro clean`: what a run folder holds, by size, and away with what no table needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cli.console import say, show
from repro.configuration.mistakes import no_run
from repro.errors import UsageError
from repro.folder.manifest import read_manifest
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder
from repro.records.model import stored_facts
from retrain.removal import leave_one_out
from retrain.retrainer import with_null_control
from retrain.weight_file import WeightFileError, read_weights


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Files of one kind, and whether a result follows from them."""

    name: str
    files: tuple[Path, ...]
    needed: bool

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)


def clean(path: Path, confirm: Callable[[str], bool]) -> None:
    """List the folder, and remove what is not needed if `confirm` agrees.

    Args:
        path: the run folder.
        confirm: asked once, with the number of files and their size.

    Raises:
        UsageError: there is no run in the folder.
    """
    folder = RunFolder(path)
    if not path.is_dir() or not folder.manifest.exists():
        raise UsageError(no_run(path, folder.manifest.name))
    with open_run(folder):
        kinds = list(_kinds(folder))
        _say(kinds)
        spare = [kind for kind in kinds if not kind.needed and kind.files]
        if not spare:
            say("nothing here that no table needs")
            return
        files = [file for kind in spare for file in kind.files]
        num_bytes = sum(kind.num_bytes for kind in spare)
        size = _size(num_bytes)
        if not confirm(f"Remove {len(files)} files ({size}) that no table needs?"):
            say("nothing removed")
            return
        for file in files:
            file.unlink()
        say(f"removed {len(files)} files, {size}", "removed", files=files, bytes=num_bytes)


def _kinds(folder: RunFolder) -> Iterator[Kind]:
    aside = tuple(sorted(folder.path.rglob("*.set-aside-*")))
    weights = tuple(sorted(folder.weights.glob("[!.]*.safetensors")))
    in_tables = {path for path in weights if _holds_a_drawn_point(folder, path)}
    listed = {folder.path / name for name in read_manifest(folder) or {}}
    results = tuple(sorted(path for path in listed if path.exists()))
    yield Kind(name="results", files=results, needed=True)
    yield Kind(name="weights that the table was made from", files=tuple(sorted(in_tables)), needed=True)
    spare = tuple(path for path in weights if path not in in_tables)
    yield Kind(name="weights of points in no table, or of another θ̂", files=spare, needed=False)
    yield Kind(name="files that were set aside", files=aside, needed=False)


def _holds_a_drawn_point(folder: RunFolder, path: Path) -> bool:
    """Whether the table has a point whose model is in this file; without a table, every file counts."""
    try:
        drawn = set(with_null_control(leave_one_out(pd.read_csv(folder.table)["train_index"])))
    except (OSError, ValueError, KeyError):
        return True
    try:
        key, weights = read_weights(path)
    except WeightFileError:
        return False
    return key == _model_key(folder) and not drawn.isdisjoint(weights.removals)


def _model_key(folder: RunFolder) -> str | None:
    facts = stored_facts(folder)
    return None if facts is None else str(facts.checksum)


def _say(kinds: list[Kind]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("what", "files", "size", ""):
        table.add_column(name, justify="right" if name in ("files", "size") else "left")
    rows = []
    for kind in sorted(kinds, key=lambda kind: -kind.num_bytes):
        rows.append(
            {"what": kind.name, "files": len(kind.files), "bytes": kind.num_bytes, "needed": kind.needed}
        )
        needed = "needed" if kind.needed else "can go"
        table.add_row(kind.name, str(len(kind.files)), _size(kind.num_bytes), needed)
    show(table, "files", rows)


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"
