"""NumPy's .npy and .npz; TRAK's .mmap is an .npy of half precision."""

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from score.formats.limits import check_shape, needs_code, refused
from score.predicted import Layout, Scores, ScoresError

MAGIC = b"\x93NUMPY"
KEYS = (
    "predicted_change", "scores", "score", "all_modules", "influences", "influence", "values", "data_values",
    "arr_0",
)  # fmt: skip
"""What arrays of scores are called, the likeliest first."""
COPY = 2**16


def read_npy(path: Path) -> Scores:
    """A vector or matrix. In half precision it is TRAK's, which has a row for each training point."""
    with path.open("rb") as file:
        shape, order, dtype = _header(file, path)
        _check_bytes(path.stat().st_size - file.tell(), shape, dtype)
        values = _numbers(np.fromfile(file, dtype=dtype), shape, order)
    layout: Layout = "either" if dtype == np.float16 else "test_rows"
    return Scores(values=values, layout=layout, form="npy")


def read_npz(path: Path) -> Scores:
    """The array of scores in an archive, with test_index and train_index if they stand beside it."""
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
        chosen = next((key for key in KEYS if key in names), None)
        others = [name for name in names if name not in ("test_index", "train_index")]
        if chosen is None and len(others) == 1:
            chosen = others[0]
        if chosen is None:
            raise ScoresError(
                f"holds the arrays {', '.join(sorted(names)[:8]) or 'none'}; call the scores predicted_change"
            )
        found = {
            key: _member(archive, names[key], path)
            for key in (chosen, "test_index", "train_index")
            if key in names
        }
    tests = found.get("test_index")
    return Scores(
        values=np.atleast_2d(found[chosen]),
        test_index=None if tests is None else tuple(_indices(tests, "test_index").tolist()),
        train_index=None if "train_index" not in found else _indices(found["train_index"], "train_index"),
        form="npz",
    )


def _indices(values: np.ndarray, name: str) -> np.ndarray:
    flat = values.ravel()
    if not np.isfinite(flat).all() or (flat != np.round(flat)).any() or (flat < 0).any():
        raise ScoresError(f"{name}: expected integers from 0")
    return flat.astype(np.int64)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    """One array: its header is read first, and no more bytes are unpacked than that says."""
    with archive.open(name) as file:
        shape, order, dtype = _header(file, path)
        length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if archive.getinfo(name).file_size < length:
            raise ScoresError(f"{name} says {shape} in its header and is shorter: the archive is damaged")
        content = bytearray()
        while len(content) < length and (part := file.read(min(COPY, length - len(content)))):
            content += part
    if len(content) < length:
        raise ScoresError(f"{name} ends before its {length:,} bytes: the archive is damaged")
    return _numbers(np.frombuffer(bytes(content), dtype=dtype), shape, order)


def _header(file: IO[bytes] | zipfile.ZipExtFile, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and dtype; checked, nothing of the array read."""
    with refused("has a damaged header", ValueError, TypeError, SyntaxError, OverflowError):
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, order, dtype = read(file)
    if dtype.hasobject:
        raise needs_code(
            "holds Python objects", path, f"numpy.load('{path.name}', allow_pickle=True).tolist()"
        )
    if dtype.kind not in "fiub":
        raise ScoresError(f"holds {dtype}, expected real numbers")
    check_shape(shape or (1,))
    return shape, order, dtype


def _check_bytes(there: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    claimed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if there != claimed:
        raise ScoresError(f"claims {shape} numbers of {dtype}, {claimed:,} bytes, and holds {there:,}")


def _numbers(flat: np.ndarray, shape: tuple[int, ...], columns_first: bool) -> np.ndarray:
    values = flat.reshape(shape, order="F" if columns_first else "C")
    return np.atleast_2d(np.asarray(values, dtype=np.float64))
