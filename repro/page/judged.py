"""Scores of other tools, as `repro score` judged them, for the page: by the page's own judge and limits."""

import math

import pandas as pd

from diagnosis.figure import pairs_of
from diagnosis.predictions import judge_method
from plots.numbers import format_r, format_slope
from report.content import JudgedScores
from repro.agreement import JoinedChanges
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.scores import FileFindings, read_scores_found, same_truth
from retrain.removal import leave_one_out


def judged_scores(folder: RunFolder, joined: JoinedChanges) -> list[JudgedScores]:
    """A row for each file and test point; none where no scores were judged, or by other actual changes."""
    try:
        found, table = read_scores_found(folder.score, folder.score_table)
        if not same_truth(table, joined.table):
            warn(
                f"{folder.score} was judged by other actual changes than this run's table, so that the page "
                "leaves it out: score the files again"
            )
            return []
        rows = leave_one_out(table["train_index"].drop_duplicates())
        amplification = joined.retrainer.amplification(set(rows))
        return [
            _judged(str(name), int(str(target)), found[str(name)], part, amplification)
            for (name, target), part in table.groupby(["scores", "test_index"], sort=False)
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        warn(f"{folder.score} is not as this tool writes it, so that the page leaves it out: {error}")
        return []


def _judged(
    name: str, target: int, found: FileFindings, rows: pd.DataFrame, amplification: dict[int, float]
) -> JudgedScores:
    findings = found.findings
    before, after = (
        f"r {format_r(measures.pearson.value)}, slope {format_slope(measures.slope.value)}"
        for measures in (findings.measures[target], findings.mended[target])
    )
    lds = findings.measures[target].lds
    return JudgedScores(
        name=name,
        file=found.file,
        test_index=target,
        verdict=judge_method(name, pairs_of(rows, amplification)),
        lds=None if lds is None or math.isnan(lds.value) else lds.value,
        fault_names=tuple(findings.fault_names),
        faults=tuple(fault.words for fault in findings.faults),
        too_few_points=findings.too_few_points,
        mended=f"{before} before the change, {after} after it" if findings.faults else "",
    )
