"""removals.json: which training rows each `removal` of groups.csv leaves out.

A list of lists of rows. Where these are many, as in a study on MNIST, it is {"file": "removals.npz"} instead,
and that file has two arrays: group g leaves out rows[offsets[g]:offsets[g + 1]].
"""

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.folder.manifest import write_result, write_text_result
from repro.folder.paths import RunFolder

if TYPE_CHECKING:
    # It imports torch, which scores are judged without.
    from retrain.removal import Removal

MOST_ROWS = 1_000_000
"""Of all groups together, in JSON: some 7 MB."""


def write_removals(folder: RunFolder, removals: "list[Removal]") -> None:
    """Write the groups, in the order that groups.csv counts them in."""
    if sum(map(len, removals)) <= MOST_ROWS:
        lines = ",\n".join(json.dumps(list(rows)) for rows in removals)
        write_text_result(folder, folder.removals, f"[\n{lines}\n]\n")
        return
    rows = np.concatenate([np.array(rows, dtype=np.int32) for rows in removals])
    offsets = np.cumsum([0, *map(len, removals)], dtype=np.int64)
    write_result(
        folder, folder.removal_rows, lambda path: np.savez_compressed(path, rows=rows, offsets=offsets)
    )
    write_text_result(folder, folder.removals, json.dumps({"file": folder.removal_rows.name}) + "\n")


def read_removals(folder: RunFolder) -> "list[Removal]":
    """The rows that each `removal` of groups.csv names.

    Raises:
        OSError: a file is not there.
        ValueError, TypeError, KeyError: it is not of the form that this tool writes.
    """
    content = json.loads(folder.removals.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        return _read_rows(folder, content)
    if not isinstance(content, list) or any(
        sorted({*map(int, rows)}) != rows or not rows for rows in content
    ):
        raise ValueError("removals.json is no list of ascending rows")
    return [tuple(rows) for rows in content]


def _read_rows(folder: RunFolder, content: dict[str, Any]) -> "list[Removal]":
    if content != {"file": folder.removal_rows.name}:
        raise ValueError("removals.json names another file than removals.npz")
    with np.load(folder.removal_rows, allow_pickle=False) as arrays:
        rows, offsets = arrays["rows"], arrays["offsets"]
    if rows.ndim != 1 or offsets.ndim != 1 or rows.dtype != np.int32 or offsets.dtype != np.int64:
        raise ValueError("removals.npz holds other arrays than rows and offsets")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(rows) or (np.diff(offsets) < 1).any():
        raise ValueError("removals.npz has offsets that do not divide its rows into groups")
    groups = [rows[first:last] for first, last in pairwise(offsets.tolist())]
    if any((np.diff(group) < 1).any() for group in groups):
        raise ValueError("removals.npz has groups whose rows do not ascend")
    return [tuple(group.tolist()) for group in groups]
