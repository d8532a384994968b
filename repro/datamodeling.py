"""The linear datamodeling score of a method from groups.csv, and whether lds.json has it."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from diagnosis.verdict import Verdict
from plots.agreement import comparable
from plots.rank_interval import RankCorrelation, spearman_interval
from repro.folder.paths import RunFolder
from repro.printable import printable

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
    if not folder.datamodeling.exists():
        return []
    recorded = json.loads(folder.datamodeling.read_text(encoding="utf-8"))
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
    if "sgd_truth" not in recorded:
        return [found]
    again = "lds.json has scores by losses of SGD, whose models are not kept and not trained again"
    return [found, Verdict(check=f"{check} by SGD", passed=None, evidence=again)]


def _faults(table: pd.DataFrame, recorded: Mapping[str, object]) -> list[str]:
    """What of lds.json is not as found now."""
    rows, methods = comparable(table), recorded["methods"]
    if not isinstance(methods, dict):
        raise TypeError("methods of lds.json: expected an object")
    faults = [
        name
        for name, found in (
            ("models", float(rows["removal"].nunique())),
            ("max_certificate", float(table["certificate"].max())),
        )
        if not _same(recorded[name], found)
    ]
    for method, known in methods.items():
        points = scores_of_method(rows[rows["method"] == method])
        if not points:
            faults.append(f"{method}, which has no rows")
            continue
        if set(known["test_points"]) != {str(target) for target in points}:
            faults.append(f"test points of {method}")
            continue
        scores = {
            f"test point {target}": (known["test_points"][str(target)], points[target]) for target in points
        }
        scores["mean"] = (known["mean"], mean_score(points.values()))
        faults += [
            f"{name} of {method}, {where}"
            for where, (written, found) in scores.items()
            for name, value in asdict(found).items()
            if not _same(written[name], value)
        ]
    return faults


def _same(recorded: object, value: float) -> bool:
    """Within rounding; what is not finite is null in the file."""
    if recorded is None or not math.isfinite(value):
        return recorded is None and not math.isfinite(value)
    return isinstance(recorded, (int, float)) and math.isclose(recorded, value, rel_tol=1e-9, abs_tol=1e-12)
