"""One data set, checked once: every later stage may trust what it holds."""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


class DataError(ValueError):
    """The examples cannot be used as they are; the message says what is wrong, where, and what to do."""


LARGEST_TABLE = 32e9
"""Bytes of probabilities and weights from which on a label is taken for a mistake."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Training and test examples of one classification problem.

    Features are scaled but not centred, with no bias column: models add that themselves. Rows keep the order
    of their source, so a training index means the same example in every table.

    Raises:
        DataError: shapes disagree, a label is outside 0 … num_classes - 1, or a feature is NaN or infinite.
    """

    name: str
    x_train: Float[np.ndarray, "n features"]
    y_train: Int[np.ndarray, " n"]
    x_test: Float[np.ndarray, "m features"]
    y_test: Int[np.ndarray, " m"]
    num_classes: int
    image_shape: tuple[int, int] | None = None
    """Height and width when a row of features is an image, else None."""

    def __post_init__(self) -> None:
        size = 8 * self.num_classes * (len(self.y_train) + self.x_train.shape[-1])
        if size > LARGEST_TABLE:
            raise DataError(
                f"{self.name}: labels reach {self.num_classes - 1}, and so many classes take "
                f"{size / 1e9:.0f} GB for the probabilities alone; number the classes from 0 without gaps"
            )
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            _check_part(self.name, part, x, y, self.num_classes)
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise DataError(
                f"{self.name}: training examples have {self.x_train.shape[1]} features, "
                f"test examples {self.x_test.shape[1]}; they must be equal"
            )

    def classes_without_examples(self) -> list[int]:
        """Classes that no training example has: their parameters follow from the others and from L2 alone."""
        return sorted(set(range(self.num_classes)) - set(np.unique(self.y_train).tolist()))

    @property
    def checksum(self) -> str:
        """SHA-256 over the four arrays and their shapes: equal exactly when the examples are equal."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _check_part(
    name: str, part: str, x: Float[np.ndarray, "n features"], y: Int[np.ndarray, " n"], num_classes: int
) -> None:
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y):
        raise DataError(
            f"{name}: x_{part} has shape {x.shape} and y_{part} {y.shape}; expected (n, features) and (n,)"
        )
    if len(x) < (2 if part == "train" else 1):
        raise DataError(f"{name}: {len(x)} {part} examples are too few: one must remain when one is removed")
    with np.errstate(over="ignore", invalid="ignore"):
        # Finite exactly where all numbers are and none is too large; without a second array of x's size.
        if not np.isfinite(np.vdot(x, x)):
            raise DataError(f"{name}: x_{part} holds {_not_usable(x)}")
    bad_labels = np.flatnonzero((y < 0) | (y >= num_classes))
    if len(bad_labels):
        first = bad_labels[0]
        raise DataError(
            f"{name}: y_{part} must lie in 0 … {num_classes - 1}, but row {first} has label {y[first]}"
        )


def _not_usable(x: Float[np.ndarray, "n features"]) -> str:
    """Which numbers cannot be computed with, and what to do."""
    bad_rows = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad_rows):
        return (
            f"NaN or infinity in {len(bad_rows)} rows, first in row {bad_rows[0]}; "
            "remove or impute those examples"
        )
    return f"numbers up to {np.abs(x).max():.0e}, whose squares overflow; scale it down"
