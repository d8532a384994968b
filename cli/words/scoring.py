"""What `repro score` has found of the scores of other tools, in words."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cli.console import say, say_wrote, show
from cli.words.registry import result_table, words
from diagnosis.limits import FOLLOWS, PEARSON

if TYPE_CHECKING:
    from repro.stages.score import Scored, ScoredFiles
    from score.interval import Interval

SCORE_COLUMNS = {
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
    table = result_table(f"actual change on score, against {found.against}")
    table.add_column("scores", overflow="fold")
    every = [measures for one in found.scored for measures in one.score.measures.values()]
    columns = dict(SCORE_COLUMNS)
    if all(measures.lds is None for measures in every):
        del columns["LDS"]
    for name in ("test", *columns):
        table.add_column(name, justify="right", overflow="fold")
    for one in found.scored:
        for target, measures in one.score.measures.items():
            cells = (_within(getattr(measures, name), form) for name, form in columns.values())
            table.add_row(one.name, str(target), *cells)
    rows = [
        {"scores": one.name, "test_index": target} | asdict(measures)
        for one in found.scored
        for target, measures in one.score.measures.items()
    ]
    show(table, "score", rows)
    for one in found.scored:
        _say_faults(one)
    for path in found.written:
        say_wrote(path)
    if found.before:
        record, csv, _ = found.written
        say(f"{record.name} and {csv.name} keep the scores of before: {', '.join(found.before)}", "kept")


def _say_faults(one: Scored) -> None:
    score = one.score
    r = score.pearson.value
    lines = [f"{one.name}: nothing is wrong with the scores that a simple change would mend"]
    if not r >= PEARSON:
        shown = "undefined" if math.isnan(r) else _signed(r, ".4f")
        how = "follow the changes only roughly" if r >= FOLLOWS else "do not follow the changes"
        lines = [f"{one.name}: no simple change mends the scores, and they {how}: r {shown}"]
    if score.too_few_points:
        points = sum(measures.points for measures in score.measures.values())
        lines = [f"{one.name}: too few points ({points:,}) to name a fault"]
    if score.faults:
        slope = score.slope.value
        after = next(iter(score.mended.values()))
        lines = [f"{one.name}: {fault.name}: {fault.words}" for fault in score.faults]
        lines.append(
            f"{one.name}: so mended, r {_signed(r, '.4f')} → {_signed(after.pearson.value, '.4f')}, "
            f"slope {_signed(slope, '.4g')} → {_signed(after.slope.value, '.4g')}"
        )
    numbers: dict[str, Any] = score.as_json()
    say("\n".join(lines), "scored", scores=one.name, file=one.file, **numbers)


def _signed(value: float, form: str) -> str:
    """With the minus of the faults' words, not a hyphen; that of an exponent stays."""
    return ("−" if value < 0 else "") + format(abs(value), form)


def _within(found: Interval | None, form: str) -> str:
    """A figure and how far certificates let it move; that is left out where it does not show."""
    if found is None:
        return ""
    if math.isnan(found.value):
        return "undefined"
    reach = max(found.high - found.value, found.value - found.low)
    shown = _signed(found.value, form)
    return shown if _signed(found.value + reach, form) == shown else f"{shown} ± {reach:.0e}"
