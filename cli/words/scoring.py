"""What `repro score` has found of the scores of other tools, in words."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.console import say, show
from cli.words.registry import words
from score.interval import signed

if TYPE_CHECKING:
    from repro.stages.score import ScoredFiles
    from score.interval import Interval

COLUMNS = {
    "scores": ("scores", ""),
    "test": ("test_index", "d"),
    "pearson": ("pearson", ".4f"),
    "spearman": ("spearman", ".4f"),
    "slope": ("slope", ".4g"),
    "max error": ("max_abs_error", ".1e"),
    "decided": ("decided", ".0%"),
    "top": ("top_overlap", ".0%"),
    "LDS": ("lds", ".4f"),
}
"""What is shown of scores, and how it is written; LDS where there are models of halves."""


@words
def _(found: ScoredFiles) -> None:
    """A row for each file and test point, with what certificates leave open; then what is wrong with each."""
    judged = [
        ({"scores": one.name, "test_index": target}, measures)
        for one in found.scored
        for target, measures in one.score.measures.items()
    ]
    columns = dict(COLUMNS)
    if all(measures.lds is None for _, measures in judged):
        del columns["LDS"]
    shown = [
        named
        | {key: _within(getattr(measures, key), form) for key, form in columns.values() if key not in named}
        for named, measures in judged
    ]
    title = f"actual change on score, against {found.against}"
    show("score", columns, shown, title=title, fold=columns, objects=[row | asdict(m) for row, m in judged])
    for one in found.scored:
        lines = "\n".join(f"{one.name}: {line}" for line in one.findings)
        numbers: dict[str, Any] = one.score.as_json()
        say(lines, "scored", scores=one.name, file=one.file, **numbers)
    for path in found.written:
        say(f"wrote {path}", "wrote", files=[path])
    if found.before:
        record, csv, _ = found.written
        say(f"{record.name} and {csv.name} keep the scores of before: {', '.join(found.before)}", "kept")


def _within(found: Interval | None, form: str) -> str:
    """A figure and how far certificates let it move; that is left out where it does not show."""
    if found is None:
        return ""
    if math.isnan(found.value):
        return "undefined"
    reach = max(found.high - found.value, found.value - found.low)
    shown = signed(found.value, form)
    return shown if signed(found.value + reach, form) == shown else f"{shown} ± {reach:.0e}"
