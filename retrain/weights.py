"""The cache of leave-one-out weights: one file a finished batch, keyed by θ̂, so nothing is retrained twice.

A file holds, for each of its models, the index left out (`NOTHING` for the null control), Δ = θ̂₋ᵢ − θ̂ in
float32 with all the model's features, ‖∇R₋ᵢ‖ before that rounding, and a bound on the distance of θ̂ + Δ, as
stored, from the minimiser. Its metadata name the key and a checksum; a file that fails either is not used.
"""

import errno
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from erm.files import set_aside, write_atomically

FORMAT = "1"
DTYPES = {
    "indices": "I64",
    "differences": "F32",
    "gradient_norms": "F64",
    "distance_bounds": "F64",
    "passes": "I64",
}


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutWeights:
    """Leave-one-out models in the order of `indices`."""

    indices: Int[np.ndarray, " B"]
    differences: Float32[np.ndarray, "B K features"]
    gradient_norms: Float[np.ndarray, " B"]
    distance_bounds: Float[np.ndarray, " B"]
    """Bound on ‖θ̂ + Δ − θ*‖, rounding of the gradient and of the storage included."""
    passes: Int[np.ndarray, " B"]

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def select(self, rows: Int[np.ndarray, " b"]) -> "LeaveOneOutWeights":
        return LeaveOneOutWeights(**{name: array[rows] for name, array in self.arrays().items()})


@dataclass(frozen=True)
class WeightCache:
    """The weight files of one θ̂ in one folder.

    Args:
        folder: where the files lie; it need not exist yet.
        key: names θ̂; a file with another key belongs to another model and is left alone.
        warn: called with a line for every file that is damaged and will not be used.
    """

    folder: Path
    key: str
    warn: Callable[[str], None]

    def write(self, weights: LeaveOneOutWeights) -> Path:
        """Add one file of finished models."""
        arrays = weights.arrays()
        checksum = _checksum(self.key, arrays)
        path = self.folder / f"{checksum[:16]}.safetensors"
        metadata = {"format": FORMAT, "key": self.key, "checksum": checksum}
        write_atomically(path, lambda temporary: _save(arrays, temporary, metadata))
        return path

    def parts(self, wanted: Collection[int] | None = None) -> Iterator[LeaveOneOutWeights]:
        """The sound models of this key whose index is wanted (None: all), one file at a time.

        Every model comes once, also when two files hold it (two runs side by side). No more than one file is
        in memory, so that tens of thousands of models can be gone through.
        """
        left = None if wanted is None else np.unique(np.fromiter(wanted, dtype=np.int64))
        seen = np.empty(0, dtype=np.int64)
        for path in self.files():
            if left is not None and not len(left):
                return
            part = self._read_file(path)
            if part is None:
                continue
            new = ~np.isin(part.indices, seen) if left is None else np.isin(part.indices, left)
            _, first = np.unique(part.indices, return_index=True)
            rows = first[new[first]]
            if len(rows):
                found = part.select(rows)
                seen = np.union1d(seen, found.indices)
                left = None if left is None else np.setdiff1d(left, found.indices)
                yield found

    def files(self) -> list[Path]:
        """Finished files, of this key or others, by name."""
        return sorted(self.folder.glob("[!.]*.safetensors"))

    def known_indices(self) -> set[int]:
        """The indices that need not be solved again."""
        return {index for part in self.parts() for index in part.indices.tolist()}

    def _read_file(self, path: Path) -> LeaveOneOutWeights | None:
        try:
            key, weights = read_weights(path)
        except FileNotFoundError:
            # Another process has set it aside meanwhile.
            return None
        except WeightFileError as error:
            self.warn(f"{path} {error}; set aside as {set_aside(path).name}. Its models are solved again")
            return None
        return weights if key == self.key else None


class WeightFileError(ValueError):
    """A file is no sound file of leave-one-out weights; the message completes the sentence."""


def read_weights(path: Path) -> tuple[str, LeaveOneOutWeights]:
    """The key that a file belongs to, and its models. Sizes are checked before anything is allocated.

    Raises:
        WeightFileError: it is damaged, of another format, or not made by this tool.
        FileNotFoundError: it is not there.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise WeightFileError(f"has format {metadata.get('format')}, not {FORMAT}")
            _check_shapes({name: file.get_slice(name) for name in LeaveOneOutWeights.__dataclass_fields__})
            arrays = {name: file.get_tensor(name) for name in LeaveOneOutWeights.__dataclass_fields__}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise WeightFileError(f"is damaged ({error})") from error
    key = metadata.get("key", "")
    if _checksum(key, arrays) != metadata.get("checksum"):
        raise WeightFileError("does not match its checksum")
    return key, LeaveOneOutWeights(**arrays)


def _check_shapes(slices: Mapping[str, Any]) -> None:
    """One row a model in every array, three dimensions in the differences, and the types of `DTYPES`."""
    shapes = {name: tuple(found.get_shape()) for name, found in slices.items()}
    dimensions = {name: 3 if name == "differences" else 1 for name in shapes}
    if any(len(shape) != dimensions[name] for name, shape in shapes.items()):
        raise WeightFileError(f"has arrays of other dimensions than leave-one-out weights: {shapes}")
    if len({shape[0] for shape in shapes.values()}) > 1:
        raise WeightFileError(f"has arrays of different lengths: {shapes}")
    types = {name: found.get_dtype() for name, found in slices.items()}
    if types != DTYPES:
        raise WeightFileError(f"has arrays of other types than leave-one-out weights: {types}")


def _save(arrays: dict[str, np.ndarray], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(arrays, path, metadata=metadata)
    except SafetensorError as error:
        # What the library makes of a full disk.
        raise OSError(errno.EIO, str(error), str(path)) from error


def _checksum(key: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {key}".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
