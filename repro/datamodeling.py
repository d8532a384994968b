"""The linear datamodeling score of a method from groups.csv, and whether lds.json has it."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from diagnosis.verdict import Verdict
from plots.agreement import comparable
from plots.rank_interval import RankCorrelation, spearman_interval
from repro.folder.paths import RunFolder
from repro.printable import printable
from repro.records.datamodeling import RecordedDatamodeling, read_datamodeling

REMEDY = "`repro lds` with the overrides of the table makes it again"
NUMBERS = ("predicted_change", "actual_change", "certificate")
ENDS = ("value", "lowest", "highest")


def scores_of_method(rows: pd.DataFrame) -> dict[int, RankCorrelation]:
    """Spearman's r of one method, with the interval that certificates leave, by test point.

    Args:
        rows: of groups.csv, the comparable ones of the method.
    """
    return {
        int(str(target)): spearman_interval(*(part[name].to_numpy(np.float64) for name in NUMBERS))
        for target, part in rows.groupby("test_index", sort=False)
    }


def mean_score(points: Iterable[RankCorrelation]) -> RankCorrelation:
    """Mean over test points, of each end of the interval too."""
    found = list(points)
    return RankCorrelation(**{name: float(np.mean([getattr(one, name) for one in found])) for name in ENDS})


def check_datamodeling(folder: RunFolder) -> list[Verdict]:
    """Whether lds.json, if there is one, has the scores that follow from groups.csv.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError: a file is missing, or not of the form
            that this tool writes.
    """
    recorded = read_datamodeling(folder)
    if recorded is None:
        return []
    # Read as text first: pandas may lose the last digit of a number, which may decide a tie.
    table = pd.read_csv(folder.groups, dtype=dict.fromkeys(NUMBERS, str))
    table = table.astype(dict.fromkeys(NUMBERS, np.float64))
    table["method"] = table["method"].map(lambda name: printable(str(name)))
    faults = _faults(table, recorded)
    check = "linear datamodeling scores"
    evidence = "every score of lds.json and its interval follow from groups.csv"
    if faults:
        evidence = "lds.json does not follow from groups.csv: " + ", ".join(faults)
    found = Verdict(check=check, passed=not faults, evidence=evidence, remedy=REMEDY if faults else "")
    if not recorded.sgd_seeds:
        return [found]
    again = "lds.json has scores by losses of SGD, whose models are not kept and not trained again"
    return [found, Verdict(check=f"{check} by SGD", passed=None, evidence=again)]


def _faults(table: pd.DataFrame, recorded: RecordedDatamodeling) -> list[str]:
    """What of lds.json is not as found now."""
    rows = comparable(table)
    faults = [] if recorded.models == rows["removal"].nunique() else ["models"]
    if not _same(recorded.max_certificate, float(table["certificate"].max())):
        faults.append("max_certificate")
    for method, known in recorded.methods.items():
        points = scores_of_method(rows[rows["method"] == method])
        if not points:
            faults.append(f"{method}, which has no rows")
            continue
        if known.test_points.keys() != {str(target) for target in points}:
            faults.append(f"test points of {method}")
            continue
        scores = {
            f"test point {target}": (known.test_points[str(target)], found)
            for target, found in points.items()
        }
        scores["mean"] = (known.mean, mean_score(points.values()))
        faults += [
            f"{name} of {method}, {where}"
            for where, (written, found) in scores.items()
            for name in ENDS
            if not _same(getattr(written, name), getattr(found, name))
        ]
    return faults


def _same(recorded: float, value: float) -> bool:
    """Within rounding; what is not finite is null in the file, and so NaN."""
    if math.isnan(recorded) or not math.isfinite(value):
        return math.isnan(recorded) and not math.isfinite(value)
    return math.isclose(recorded, value, rel_tol=1e-9, abs_tol=1e-12)
