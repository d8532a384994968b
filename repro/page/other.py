"""What else a run folder has: results of points beside those of groups, of which a page shows one kind."""

import json
import re
import shlex
from pathlib import Path

import pandas as pd

from report.content import OtherTable
from repro.configuration.files import groups
from repro.configuration.grammar import override
from repro.printable import printable_strings
from repro.session import Session

SCALING = "l2_scaling"


def other_points(session: Session) -> OtherTable | None:
    """Single points beside the groups of the page, and the command that makes a page of them."""
    table = session.folder.table
    if not table.is_file():
        return None
    return _other(session, "single points", table, _points_choice(table), "mean")


def other_groups(session: Session) -> OtherTable | None:
    """Groups beside the single points of the page, and the command that makes a page of them."""
    folder = session.folder
    if not folder.groups.is_file():
        return None
    try:
        found = printable_strings(json.loads(folder.group_summary.read_text(encoding="utf-8")))
        words = [str(word) for word in found["removals"]]
        scaling = str(found[SCALING])
    except (OSError, ValueError, LookupError, TypeError):
        words, scaling = [], "mean"
    # The file may be a stranger's: only words that choose removals, and perhaps a scaling that there is.
    known = [f"removals={name}" for name in groups()["removals"]]
    sound = bool(words) and words[0] in known and all(re.match(r"removals\.\w+=", w) for w in words[1:])
    return _other(
        session,
        "groups",
        folder.groups,
        words if sound else ["removals=groups"],
        scaling if scaling in ("mean", "sum") else "mean",
    )


def _other(session: Session, what: str, table: Path, words: list[str], scaling: str) -> OtherTable:
    scaled = [f"retrain.{SCALING}={scaling}"] if session.config["retrain"][SCALING] != scaling else []
    line = ["repro", "report", str(session.folder.path), *words, *scaled]
    return OtherTable(what=what, file=table.name, command=shlex.join(line))


def _points_choice(table: Path) -> list[str]:
    """The overrides that choose the points of leave_one_out.csv, as far as it tells."""
    try:
        rows = pd.read_csv(table, usecols=["selection", "train_index"])
        kind, points = str(rows["selection"].iloc[0]), [int(row) for row in rows["train_index"].unique()]
    except (ValueError, LookupError):
        return ["removals=influential"]
    if kind == "indices":
        return [f"removals={kind}", override("removals.indices", points)]
    if kind == "random":
        return [f"removals={kind}", f"removals.count={len(points)}"]
    return [f"removals={kind if kind in groups()['removals'] else 'influential'}"]
