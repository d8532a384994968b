"""A user's .npz file, written by the tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def npz_arrays(**changes: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    arrays = {
        "x_train": rng.normal(size=(5, 12)),
        "y_train": np.array([0, 1, 2, 1, 0]),
        "x_test": rng.normal(size=(3, 12)),
        "y_test": np.array([3, 0, 1]),
    }
    return {**arrays, **changes}


Save = Callable[[dict[str, Any]], Path]
"""Writes arrays to a file: the fixture `save`."""
