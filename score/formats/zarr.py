"""Zarr arrays of version 3, as pyDVL writes them: a folder with zarr.json and a file for each chunk.

No chunk is unpacked to more than the metadata say, and no codec is called but two that pyarrow has; others,
and version 2, whose filters may execute code, are refused with the line that converts them.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from score.formats.limits import check_shape, refused
from score.predicted import Scores, ScoresError

NAMES = ("zarr.json", ".zarray")
COMPRESSION = ("zstd", "gzip")
KINDS = ("float64", "float32", "float16", "int64", "int32")
MOST_CHUNKS = 2**20
ENDIANS = {"little": "<", "big": ">"}


class _Array(NamedTuple):
    """What zarr.json says of an array."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: "np.dtype[Any]"
    fill: float
    compression: str | None
    separator: str


def is_zarr(path: Path) -> bool:
    """Whether a folder is an array of Zarr."""
    return any((path / name).is_file() for name in NAMES)


def read_zarr(path: Path) -> Scores:
    """The array in a folder: rows are test points, as pyDVL has them."""
    array = _metadata(path)
    check_shape(array.shape)
    chunks = [math.ceil(length / step) for length, step in zip(array.shape, array.chunk, strict=True)]
    # Edge chunks are as large as all others: what they hold together is what is unpacked.
    check_shape([count * step for count, step in zip(chunks, array.chunk, strict=True)])
    if math.prod(chunks) > MOST_CHUNKS:
        raise ScoresError(f"claims {math.prod(chunks):,} chunks; more than {MOST_CHUNKS:,} are not read")
    values = np.full(array.shape, array.fill, dtype=np.float64)
    for place in itertools.product(*map(range, chunks)):
        file = path / array.separator.join(["c", *map(str, place)])
        # What was never written has the fill value.
        if file.is_file():
            inside = tuple(
                slice(at * step, min((at + 1) * step, length))
                for at, step, length in zip(place, array.chunk, array.shape, strict=True)
            )
            whole = _chunk(file, array)
            values[inside] = whole[tuple(slice(0, part.stop - part.start) for part in inside)]
    return Scores(values=np.atleast_2d(values), form="zarr")


def _metadata(path: Path) -> _Array:
    try:
        content = json.loads((path / NAMES[0]).read_text(encoding="utf-8"))
        shape, chunk = (
            tuple(int(length) for length in lengths)
            for lengths in (content["shape"], content["chunk_grid"]["configuration"]["chunk_shape"])
        )
        first, *more = content["codecs"]
        endian = ENDIANS[first.get("configuration", {}).get("endian", "little")]
        grid, keys = content["chunk_grid"], content["chunk_key_encoding"]
        names = [content["zarr_format"], content["node_type"], grid["name"], keys["name"], first["name"]]
        known = names == [3, "array", "regular", "default", "bytes"] and content["data_type"] in KINDS
        separator = keys.get("configuration", {}).get("separator", "/")
        if not known or [one["name"] for one in more] not in ([], *([name] for name in COMPRESSION)):
            raise _unknown(path)
        if len(shape) != len(chunk) or min(chunk, default=0) < 1 or separator not in ("/", "."):
            raise ScoresError(f"has chunks of shape {chunk} for an array of {shape}, which cannot be")
        compression = more[0]["name"] if more else None
        dtype = np.dtype(content["data_type"]).newbyteorder(endian)
        return _Array(shape, chunk, dtype, float(content["fill_value"]), compression, separator)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        if isinstance(error, ScoresError):
            raise
        raise _unknown(path) from error


def _unknown(path: Path) -> ScoresError:
    line = f"import numpy, zarr; numpy.save('{path.stem}.npy', zarr.open('{path.name}')[:])"
    return ScoresError(
        f"is a Zarr array of a kind that is not read here (version 3, {' or '.join(COMPRESSION)} or nothing "
        f'are); convert it: python -c "{line}"'
    )


def _chunk(file: Path, array: _Array) -> np.ndarray:
    length = math.prod(array.chunk) * array.dtype.itemsize
    stored = file.stat().st_size
    if stored > 2 * length + 2**16:
        raise ScoresError(f"holds a chunk of {stored:,} bytes where {length:,} are expected")
    content = file.read_bytes()
    with refused(f"has a damaged chunk {file.name}", pa.ArrowException, OSError, ValueError):
        # No more is unpacked than the metadata say.
        plain = (
            content
            if array.compression is None
            else pa.Codec(array.compression).decompress(content, decompressed_size=length, asbytes=True)
        )
        return np.frombuffer(plain, dtype=array.dtype).reshape(array.chunk).astype(np.float64)
