"""The linear datamodeling scores of lds.json, for the page on groups: where they follow from its table."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from report.content import DatamodelingScore
from repro.configuration.compose import Config
from repro.configuration.shortest import shortest_overrides
from repro.datamodeling import ENDS, REMEDY, check_datamodeling
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.printable import printable_strings


def datamodeling_scores(folder: RunFolder) -> list[DatamodelingScore]:
    """A row for each method and test point; none where lds.json is not there, or not of groups.csv."""
    try:
        bad = [verdict for verdict in check_datamodeling(folder) if verdict.passed is False]
        if bad or not folder.datamodeling.exists():
            for verdict in bad:
                warn(f"{verdict.evidence}, so that the page leaves it out: {verdict.remedy}")
            return []
        return list(_rows(_read(folder)["methods"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        warn(f"{folder.datamodeling} is damaged ({error}), so that the page leaves it out: {REMEDY}")
        return []


def lds_line(folder: RunFolder, config: Config, scores: Sequence[DatamodelingScore]) -> list[str]:
    """The command line that makes the scores again, without `repro`."""
    methods = [word for name in dict.fromkeys(one.method for one in scores) for word in ("--method", name)]
    seeds = _read(folder).get("sgd_seeds")
    by_sgd = ["--sgd-seeds", str(int(seeds))] if seeds else []
    own = [text for text in shortest_overrides(config) if not text.startswith("influence")]
    return ["lds", *methods, *by_sgd, *own]


def _read(folder: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = printable_strings(json.loads(folder.datamodeling.read_text(encoding="utf-8")))
    return found


def _rows(methods: Mapping[str, Any]) -> Iterator[DatamodelingScore]:
    for method, found in methods.items():
        points = found["test_points"]
        for target, score in (points | ({"mean": found["mean"]} if len(points) > 1 else {})).items():
            ends = {end: math.nan if score[end] is None else float(score[end]) for end in ENDS}
            yield DatamodelingScore(method=method, target=target, **ends)
