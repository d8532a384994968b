"""Scores of other tools, as `repro score` judged them, for the page: by the page's own judge and limits."""

from typing import Any

import pandas as pd

from diagnosis.figure import pairs_of
from diagnosis.predictions import judge_method
from plots.numbers import format_r, format_slope
from report.content import JudgedScores
from repro.agreement import JoinedChanges
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.scores import read_scores_found, same_truth
from retrain.removal import leave_one_out


def judged_scores(folder: RunFolder, joined: JoinedChanges) -> list[JudgedScores]:
    """A row for each file and test point; none where no scores were judged, or by other actual changes."""
    try:
        content, table = read_scores_found(folder.score, folder.score_table)
        if not same_truth(table, joined.table):
            warn(
                f"{folder.score} was judged by other actual changes than this run's table, so that the page "
                "leaves it out: score the files again"
            )
            return []
        rows = leave_one_out(table["train_index"].drop_duplicates())
        amplification = joined.retrainer.amplification(set(rows))
        return [
            _judged(str(name), int(str(target)), content[str(name)], part, amplification)
            for (name, target), part in table.groupby(["scores", "test_index"], sort=False)
        ]
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        warn(f"{folder.score} is not as this tool writes it, so that the page leaves it out: {error}")
        return []


def _judged(
    name: str, target: int, content: Any, rows: pd.DataFrame, amplification: dict[int, float]
) -> JudgedScores:
    point = content.get("test_points", {}).get(str(target), content)
    mended, faults = point["mended"], [str(change["words"]) for change in content["changes"]]
    words = ""
    if faults and mended:
        figures = [[float(one[key]["value"]) for key in ("pearson", "slope")] for one in (point, mended)]
        before, after = (f"r {format_r(r)}, slope {format_slope(slope)}" for r, slope in figures)
        words = f"{before} before the change, {after} after it"
    return JudgedScores(
        name=name,
        file=str(content["file"]),
        test_index=target,
        verdict=judge_method(name, pairs_of(rows, amplification)),
        lds=None if point["lds"] is None else float(point["lds"]["value"]),
        fault_names=tuple(str(one) for one in content["faults"]),
        faults=tuple(faults),
        too_few_points=content.get("too_few_points") is True,  # not in files of before
        mended=words,
    )
