"""removals.json: the rows that each `removal` of groups.csv names."""

import json
from typing import TYPE_CHECKING

from repro.folder.paths import RunFolder

if TYPE_CHECKING:
    from retrain.removal import Removal


def read_removals(folder: RunFolder) -> "list[Removal]":
    """Removals in the order of their numbers.

    Raises:
        OSError: removals.json is not there.
        ValueError, TypeError: it is not of the form that this tool writes.
    """
    content = json.loads(folder.removals.read_text(encoding="utf-8"))
    if not isinstance(content, list) or any(
        sorted({*map(int, rows)}) != rows or not rows for rows in content
    ):
        raise ValueError("removals.json is no list of ascending rows")
    return [tuple(rows) for rows in content]
