"""JSON: nested lists, or a dictionary by test point as pytorch_influence_functions writes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from score.formats.limits import check_shape, check_size, refused
from score.predicted import Scores, ScoresError

INFLUENCE = "influence"


def read_json(path: Path) -> Scores:
    """Rows by test point; of pytorch_influence_functions the list `influence` of each."""
    check_size(path)
    with refused("is damaged JSON", ValueError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        return _by_test_point(content)
    return Scores(values=_rows(content), form="json")


def _by_test_point(content: dict[str, Any]) -> Scores:
    entries = {
        name: value for name, value in content.items() if isinstance(value, dict) and INFLUENCE in value
    }
    if not entries:
        raise ScoresError(
            f"holds the keys {', '.join(list(content)[:6])}; expected {INFLUENCE} for each test point"
        )
    values = _rows([entry[INFLUENCE] for entry in entries.values()])
    return Scores(values=values, form="json")


def _rows(content: Any) -> np.ndarray:
    with refused("holds lists of different lengths, expected one score for each training point", ValueError):
        values = np.asarray(content)
    if values.dtype.kind not in "fiu":
        raise ScoresError("holds more than numbers, expected a list of scores for each test point")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    check_shape(values.shape or (1,))
    return np.atleast_2d(values.astype(np.float64))
