"""A user's own examples from one .npz file."""

import zipfile
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from pydantic import Field

from erm.data.truncation import NumTrain, first_training_rows
from erm.dataset import DataError, Dataset
from erm.paths import expanded

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
SINGLE_ARRAY = b"\x93NUMPY"
"""What an .npy file begins with; an .npz file, which is a zip archive, with PK."""
# What numpy and zipfile raise on bytes that are no archive, or no longer a whole one.
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def load_npz(
    *,
    path: Annotated[str | Path, Field(description=".npz file with x_train, y_train, x_test, y_test")],
    num_train: NumTrain = None,
) -> Dataset:
    """The arrays x_train, y_train, x_test and y_test of one file, named after the file.

    Features of shape (n, features), or images of shape (n, height, width), of any real dtype become float64
    and are not rescaled. Labels are whole numbers from 0; there are as many classes as the largest label of
    both parts says. Pickled objects are never loaded.

    Args:
        path: file written by numpy.savez or numpy.savez_compressed.

    Raises:
        DataError: the file, an array or `num_train` cannot be used; the message says which, and the remedy.
    """
    path = expanded(path).absolute()
    arrays = _read(path)
    x_train, x_test = (_features(path, name, arrays[name]) for name in ("x_train", "x_test"))
    y_train, y_test = (_labels(path, name, arrays[name]) for name in ("y_train", "y_test"))
    shape, test_shape = arrays["x_train"].shape[1:], arrays["x_test"].shape[1:]
    if shape != test_shape:
        raise DataError(
            f"{path}: an example of x_train has shape {shape}, one of x_test {test_shape}; make them equal"
        )
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise DataError(
                f"{path}: x_{part} has {len(x)} examples and y_{part} {len(y)} labels; give each its own"
            )
    if (only := y_train[0]) == max(y_train.max(), y_test.max()) == min(y_train.min(), y_test.min()):
        raise DataError(f"{path}: every label is {only}; a classifier needs at least two classes")
    try:
        dataset = Dataset(
            name=path.stem,
            x_train=x_train,
            y_train=y_train,
            x_test=x_test,
            y_test=y_test,
            num_classes=int(max(y_train.max(), y_test.max())) + 1,
            image_shape=(shape[0], shape[1]) if len(shape) == 2 else None,
        )
        return first_training_rows(dataset, num_train)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{path} is not a file; name one that numpy.savez wrote with data.path=FILE")
    try:
        # Opened here, because numpy leaves a file open whose archive it cannot read.
        with path.open("rb") as file:
            # Numpy takes what begins otherwise for a pickle, and advises to load that.
            if not file.read(len(SINGLE_ARRAY)).startswith((b"PK", SINGLE_ARRAY)):
                raise ValueError("it is no zip archive, which .npz files are")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            missing = [name for name in ARRAYS if name not in archive]
            if missing:
                raise DataError(
                    f"{path} lacks {', '.join(missing)}; it holds {', '.join(archive.files) or 'no array'}, "
                    f"and needs {', '.join(ARRAYS)}"
                )
            return {name: _member(path, name, archive) for name in ARRAYS}
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(
            f"{path} cannot be read as an .npz file ({error}); it is another format or truncated: "
            "write it again with numpy.savez"
        ) from error


def _member(path: Path, name: str, archive: np.lib.npyio.NpzFile) -> np.ndarray:
    try:
        return np.asarray(archive[name])
    except (*UNREADABLE, MemoryError) as error:
        raise DataError(
            f"{path}: {name} cannot be read ({error}); write it again with numpy.savez as an array of numbers"
        ) from error


def _features(path: Path, name: str, array: Shaped[np.ndarray, "..."]) -> Float64[np.ndarray, "n features"]:
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: {name} has dtype {array.dtype}; convert it to real numbers")
    if array.ndim not in (2, 3) or array.size == 0:
        raise DataError(
            f"{path}: {name} has shape {array.shape}, expected (n, features) or (n, height, width), "
            "none of them 0; reshape it"
        )
    return array.reshape(len(array), -1).astype(np.float64)


def _as_vector(name: str, array: Shaped[np.ndarray, "..."]) -> str:
    """How to make a vector of labels that stand in a column, or are marked in a row each."""
    if array.ndim != 2 or array.size == 0:
        return ""
    return (
        f"; write {name}.ravel()" if array.shape[1] == 1 else f"; if rows mark classes, {name}.argmax(axis=1)"
    )


def _as_numbers(array: Shaped[np.ndarray, "..."]) -> str:
    """How names become numbers."""
    said = ", such as numpy.unique(y_train, return_inverse=True) makes, the same for train and test"
    return said if array.dtype.kind in "USO" else ""


def _labels(path: Path, name: str, array: Shaped[np.ndarray, "..."]) -> Int64[np.ndarray, " n"]:
    if array.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: {name} has dtype {array.dtype}; convert it to integers that count from 0"
            f"{_as_numbers(array)}"
        )
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"{path}: {name} has shape {array.shape}, expected (n,), n at least 1: one label for each "
            f"example{_as_vector(name, array)}"
        )
    with np.errstate(invalid="ignore"):  # NaN and what exceeds int64 differ afterwards, so they are refused.
        labels = array.astype(np.int64)
    wrong = np.flatnonzero((labels != array) | (labels < 0))
    if len(wrong):
        raise DataError(
            f"{path}: {name} has the label {array[wrong[0]]} in row {wrong[0]}; "
            "labels must be whole numbers that count from 0"
        )
    return labels
