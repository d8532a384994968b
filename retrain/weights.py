"""The cache of leave-one-out weights: one file a finished batch, keyed by θ̂, so nothing is retrained twice.

A file holds, for each of its models, the index left out (`NOTHING` for the null control), Δ = θ̂₋ᵢ − θ̂ with
all the model's features, ‖∇R₋ᵢ‖ at exactly this Δ, and a bound on the distance of θ̂ + Δ from the minimiser.
Δ is stored without
rounding: in float32 where its numbers are float32 numbers, which the solver sees to, and in float64
    elsewhere. The metadata name the key and a checksum; a file that fails either is not used.
"""

import errno
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from erm.files import set_aside, write_atomically

FORMAT = "2"
"""1 rounded Δ after its norm was measured, and could hold norms of float32 passes."""
DTYPES = {
    "indices": "I64",
    "differences": "F32",
    "unrounded_rows": "I64",
    "unrounded_differences": "F64",
    "gradient_norms": "F64",
    "distance_bounds": "F64",
    "passes": "I64",
    "tolerances": "F64",
}
"""Arrays of a file. `unrounded_rows` are the models whose Δ is in `unrounded_differences` instead."""


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutWeights:
    """Leave-one-out models in the order of `indices`."""

    indices: Int[np.ndarray, " B"]
    differences: Float64[np.ndarray, "B K features"]
    gradient_norms: Float64[np.ndarray, " B"]
    """‖∇R₋ᵢ(θ̂ + Δ)‖ as float64 measured it, at exactly this Δ."""
    distance_bounds: Float64[np.ndarray, " B"]
    """Bound on ‖θ̂ + Δ − θ*‖, rounding of the gradient included."""
    passes: Int[np.ndarray, " B"]
    tolerances: Float64[np.ndarray, " B"]
    """The gradient norm that each model was solved for, reached or not."""

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def lengths(self) -> Float64[np.ndarray, " B"]:
        """‖Δ‖₂ of each model."""
        lengths: np.ndarray = np.linalg.norm(self.differences.reshape(len(self.indices), -1), axis=1)
        return lengths

    def settled(self, tolerance: float) -> Bool[np.ndarray, " B"]:
        """Models that need not be solved for this tolerance: they reach it, or were tried at it before."""
        reached: np.ndarray = (self.gradient_norms <= tolerance) | (self.tolerances <= tolerance)
        return reached

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
        arrays = packed(weights)
        checksum = _checksum(self.key, arrays)
        path = self.folder / f"{checksum[:16]}.safetensors"
        metadata = {"format": FORMAT, "key": self.key, "checksum": checksum}
        write_atomically(path, lambda temporary: _save(arrays, temporary, metadata))
        return path

    def parts(self, wanted: Collection[int] | None = None) -> Iterator[LeaveOneOutWeights]:
        """The sound models of this key whose index is wanted (None: all), one file at a time.

        Every model comes once: of those that several files hold, the one of the smallest gradient norm. No
        more than one file is in memory, so that tens of thousands of models can be gone through.
        """
        for path, rows in self._best_rows(wanted).items():
            part = self._read_file(path)
            if part is not None:
                yield part.select(np.array(rows))

    def _best_rows(self, wanted: Collection[int] | None) -> dict[Path, list[int]]:
        """Which rows of which files hold the best of every wanted model."""
        best: dict[int, tuple[float, Path, int]] = {}
        for path in self.files():
            part = self._read_file(path)
            if part is None:
                continue
            for row, (index, norm) in enumerate(zip(part.indices.tolist(), part.gradient_norms, strict=True)):
                if index not in best or norm < best[index][0]:
                    best[index] = float(norm), path, row
        found: dict[Path, list[int]] = {}
        for index in sorted(best if wanted is None else best.keys() & set(wanted)):
            _, path, row = best[index]
            found.setdefault(path, []).append(row)
        return found

    def files(self) -> list[Path]:
        """Finished files, of this key or others, by name."""
        return sorted(self.folder.glob("[!.]*.safetensors"))

    def indices(self) -> set[int]:
        """The indices of all stored models."""
        return {index for part in self.parts() for index in part.indices.tolist()}

    def settled_indices(self, tolerance: float) -> set[int]:
        """The indices that need not be solved for this tolerance: see `LeaveOneOutWeights.settled`."""
        return {i for part in self.parts() for i in part.indices[part.settled(tolerance)].tolist()}

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
                found = metadata.get("format")
                raise WeightFileError(f"has format {found}, and norms are certified from {FORMAT} on")
            _check_shapes({name: file.get_slice(name) for name in DTYPES})
            arrays = {name: file.get_tensor(name) for name in DTYPES}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise WeightFileError(f"is damaged ({error})") from error
    key = metadata.get("key", "")
    if _checksum(key, arrays) != metadata.get("checksum"):
        raise WeightFileError("does not match its checksum")
    return key, _unpacked(arrays)


def packed(weights: LeaveOneOutWeights) -> dict[str, np.ndarray]:
    """As a file has them: Δ in float32 where that changes nothing, in float64 elsewhere."""
    arrays = weights.arrays()
    with np.errstate(over="ignore"):
        arrays["differences"] = weights.differences.astype(np.float32)
    changed = (arrays["differences"] != weights.differences).any(axis=(1, 2))
    arrays["unrounded_rows"] = np.flatnonzero(changed)
    arrays["unrounded_differences"] = weights.differences[changed]
    return arrays


def _unpacked(arrays: dict[str, np.ndarray]) -> LeaveOneOutWeights:
    rows, unrounded = arrays.pop("unrounded_rows"), arrays.pop("unrounded_differences")
    differences = arrays["differences"].astype(np.float64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(differences):
        raise WeightFileError("has unrounded rows that are none of its models")
    differences[rows] = unrounded
    return LeaveOneOutWeights(**arrays | {"differences": differences})


def _check_shapes(slices: Mapping[str, Any]) -> None:
    """One row per model in every array, three dimensions in the differences, and the types of `DTYPES`."""
    shapes = {name: tuple(found.get_shape()) for name, found in slices.items()}
    if any(len(shape) != (3 if name.endswith("differences") else 1) for name, shape in shapes.items()):
        raise WeightFileError(f"has arrays of other dimensions than leave-one-out weights: {shapes}")
    per_model = {shape[0] for name, shape in shapes.items() if not name.startswith("unrounded")}
    unrounded = {shapes["unrounded_rows"][0], shapes["unrounded_differences"][0]}
    features = {shapes[name][1:] for name in ("differences", "unrounded_differences")}
    if len(per_model) > 1 or len(unrounded) > 1 or len(features) > 1:
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
