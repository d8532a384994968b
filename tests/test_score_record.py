"""score.json: its form, that it is read back as it was written, and what of a stranger's is not believed."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from erm.files import without_non_finite, write_json
from repro.records.scores import COLUMNS, FileFindings, read_scores_found
from score import faults
from score.interval import UNDEFINED, Interval
from score.measures import Measures
from score.score import Findings

MEASURES = Measures(
    pearson=Interval(0.5, 0.25, 0.75),
    spearman=UNDEFINED,
    slope=Interval(-2.0, -math.inf, math.inf),
    intercept=Interval(1e-300, 0.0, 0.1),
    max_abs_error=Interval(0.1 + 0.2, 0.3, 0.4),
    decided=Interval(1.0, 1.0, 1.0),
    top_overlap=Interval(0.0, 0.0, 1.0),
    top_k=1,
    points=12,
    lds=UNDEFINED,
)
FOUND = FileFindings(
    file="a.npy",
    findings=Findings(
        measures={8: MEASURES, 3: MEASURES},
        faults=(faults.SIGN, faults.factor(300.0, 300, faults.FACTOR_N)),
        too_few_points=False,
        mended={8: MEASURES, 3: MEASURES},
    ),
)
WRITTEN = (
    '"pearson": {"value": 0.5, "low": 0.25, "high": 0.75}, '
    '"spearman": {"value": null, "low": null, "high": null}, '
    '"slope": {"value": -2.0, "low": null, "high": null}, '
    '"intercept": {"value": 1e-300, "low": 0.0, "high": 0.1}, '
    '"max_abs_error": {"value": 0.30000000000000004, "low": 0.3, "high": 0.4}, '
    '"decided": {"value": 1.0, "low": 1.0, "high": 1.0}, '
    '"top_overlap": {"value": 0.0, "low": 0.0, "high": 1.0}, "top_k": 1, "points": 12, '
    '"lds": {"value": null, "low": null, "high": null}'
)
POINT = f'{{{WRITTEN}, "mended": {{{WRITTEN}}}}}'


def read(folder: Path, content: Any) -> FileFindings:
    """What is read of the only file of a score.json."""
    write_json(folder / "score.json", {"against": "run", "scores": {"a": content}})
    return read_text(folder, (folder / "score.json").read_text())


def read_text(folder: Path, text: str) -> FileFindings:
    (folder / "score.json").write_text(text)
    (folder / "score.csv").write_text(f"{','.join(COLUMNS)}\na,8,0,0.1,,0.1,0.0\n")
    found, _ = read_scores_found(folder / "score.json", folder / "score.csv")
    return found["a"]


def text(found: FileFindings) -> str:
    return json.dumps(without_non_finite(found.as_json()), ensure_ascii=False)


def test_the_form_is_that_of_the_first_version() -> None:
    sign, factor = (fault.words for fault in FOUND.findings.faults)
    assert text(FOUND) == (
        f'{{"file": "a.npy", "test_index": 8, {WRITTEN}, "faults": ["sign", "factor_n"], '
        f'"too_few_points": false, "changes": [{{"name": "sign", "words": "{sign}", "value": null}}, '
        f'{{"name": "factor_n", "words": "{factor}", "value": 300.0}}], "mended": {{{WRITTEN}}}, '
        f'"test_points": {{"8": {POINT}, "3": {POINT}}}}}'
    )


def test_what_is_read_is_written_alike(tmp_path: Path) -> None:
    found = read(tmp_path, FOUND.as_json())
    assert text(found) == text(FOUND)
    assert found.findings.faults == FOUND.findings.faults
    np.testing.assert_equal(found.findings.mended[3].pearson, MEASURES.pearson)
    assert math.isnan(found.findings.measures[3].spearman.value)


def test_one_test_point_and_no_word_on_few_points_is_read_too(tmp_path: Path) -> None:
    """As earlier versions wrote it; where nothing is wrong, nothing is mended."""
    entry = dict(FOUND.as_json(), faults=[], changes=[], mended=None)
    findings = read(
        tmp_path, {key: entry[key] for key in entry if key not in ("too_few_points", "test_points")}
    ).findings
    assert list(findings.measures) == [8]
    assert findings.too_few_points is False
    assert findings.mended == findings.measures


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("file",), None),
        (("changes",), 3),
        (("changes", 0, "words"), 3),
        (("test_points",), [3]),
        (("test_points",), {"first": 3}),
        (("test_points", "8", "pearson"), 3),
        (("test_points", "8", "pearson"), {"value": "x", "low": 0.0, "high": 0.0}),
        (("test_points", "8", "lds", "value"), 10**400),
        (("test_points", "8", "points"), None),
        (("test_points", "8", "mended"), None),
    ],
)
def test_another_form_is_no_score(tmp_path: Path, place: tuple[Any, ...], value: object) -> None:
    content: Any = copy.deepcopy(without_non_finite(FOUND.as_json()))
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # many are the words
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_nesting_without_end_is_no_score(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="RecursionError"):
        read_text(tmp_path, '{"scores": ' + "[" * 100_000 + "]" * 100_000 + "}")
