"""The file of finished models: what it holds, how it is packed, and what is refused.

A file holds, for each of its models, the rows left out, Δ = θ̂₋S − θ̂ with all the model's features, ‖∇R₋S‖
at exactly this Δ, and a bound on the distance of θ̂ + Δ from the minimiser. Δ is stored without rounding: in
float32 where its numbers are float32 numbers, which the solver sees to, and in float64 elsewhere. The
metadata name the key and a checksum; a file that fails either is not used.
"""

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from retrain.removal import Removal

FORMAT, LOCAL_FORMAT = "3", "4"
"""What is written; 4 is 3 with `LOCAL`, for models that a local certificate vouches for. 2 has `indices` for
single rows, −1 for none, and is read; 1 rounded Δ after its norm was measured, and could hold norms of
float32 passes."""
NUMBERS = {
    "differences": "F32",
    "unrounded_rows": "I64",
    "unrounded_differences": "F64",
    "gradient_norms": "F64",
    "distance_bounds": "F64",
    "passes": "I64",
    "tolerances": "F64",
}
"""Arrays of any file. `unrounded_rows` are the models whose Δ is in `unrounded_differences` instead."""
PER_MODEL = ("gradient_norms", "distance_bounds", "passes", "tolerances")
LOCAL = {
    "labels": "I64",
    "margins": "F64",
    "path_margins": "F64",
    "path_points": "I64",
    "curvatures": "F64",
    "lipschitz": "F64",
}
"""Arrays of `LocalFacts`."""
ROWS = {"rows": "I64", "offsets": "I64"} | NUMBERS
DTYPES = {"2": {"indices": "I64"} | NUMBERS, "3": ROWS, "4": ROWS | LOCAL}
"""Arrays by format. Model b leaves out rows[offsets[b] … offsets[b + 1] − 1]."""


@dataclass(frozen=True, kw_only=True)
class LocalFacts:
    """What is known of models whose risk is not convex: which minimum each is, and under which condition."""

    labels: Int[np.ndarray, " B"]
    """Whether θ̂'s own minimum: places in `retrain.continuation.LABELS`."""
    margins: Float64[np.ndarray, " B"]
    """How many times faster than measured the Hessian may change, and the certificate would still hold."""
    path_margins: Float64[np.ndarray, " B"]
    """The same of the path from θ̂; below 1 where it was followed without being linked."""
    path_points: Int[np.ndarray, " B"]
    """Points of the path that were computed."""
    curvatures: Float64[np.ndarray, " B"]
    """The smallest eigenvalue of L⁻¹∇²R₋S L⁻ᵀ, as measured."""
    lipschitz: Float64[np.ndarray, " B"]
    """M in ‖·‖_H, as measured."""

    def arrays(self) -> dict[str, np.ndarray]:
        """A row per model each."""
        return {name: getattr(self, name) for name in LOCAL}

    def select(self, places: Int[np.ndarray, " b"]) -> "LocalFacts":
        """Of some of the models."""
        return LocalFacts(**{name: array[places] for name, array in self.arrays().items()})


@dataclass(frozen=True, kw_only=True)
class RetrainedWeights:
    """The models of some removals, in their order."""

    removals: tuple[Removal, ...]
    differences: Float64[np.ndarray, "B K features"]
    gradient_norms: Float64[np.ndarray, " B"]
    """‖∇R₋S(θ̂ + Δ)‖ as float64 measured it, at exactly this Δ."""
    distance_bounds: Float64[np.ndarray, " B"]
    """Bound on ‖θ̂ + Δ − θ*‖, rounding of the gradient included."""
    passes: Int[np.ndarray, " B"]
    tolerances: Float64[np.ndarray, " B"]
    """The gradient norm that each model was solved for, reached or not."""
    local: LocalFacts | None = None
    """None where the distance bounds are proven without a condition."""

    def numbers(self) -> dict[str, np.ndarray]:
        """All but the removals and local facts: a row per model each."""
        return {name: getattr(self, name) for name in ("differences", *PER_MODEL)}

    def sizes(self) -> Float64[np.ndarray, " B"]:
        """|S| of each model."""
        return np.array([len(rows) for rows in self.removals], dtype=np.float64)

    def lengths(self) -> Float64[np.ndarray, " B"]:
        """‖Δ‖₂ of each model."""
        lengths: np.ndarray = np.linalg.norm(self.differences.reshape(len(self.removals), -1), axis=1)
        return lengths

    def settled(self, tolerance: float) -> Bool[np.ndarray, " B"]:
        """Models that need not be solved for this tolerance: they reach it, or were tried at it before."""
        reached: np.ndarray = (self.gradient_norms <= tolerance) | (self.tolerances <= tolerance)
        return reached

    def select(self, places: Int[np.ndarray, " b"]) -> "RetrainedWeights":
        """Some of the models."""
        return RetrainedWeights(
            removals=tuple(self.removals[place] for place in places.tolist()),
            local=None if self.local is None else self.local.select(places),
            **{name: array[places] for name, array in self.numbers().items()},
        )


class WeightFileError(ValueError):
    """A file is no sound file of retrained weights; the message completes the sentence."""


def read_weights(path: Path) -> tuple[str, RetrainedWeights]:
    """The key that a file belongs to, and its models. Sizes are checked before anything is allocated.

    Raises:
        WeightFileError: it is damaged, of another format, or not made by this tool.
        FileNotFoundError: it is not there.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            found = metadata.get("format")
            if found not in DTYPES:
                raise WeightFileError(f"has format {found}, and norms are certified from 2 on")
            _check_shapes({name: file.get_slice(name) for name in DTYPES[found]}, found)
            arrays = {name: file.get_tensor(name) for name in DTYPES[found]}
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise WeightFileError(f"is damaged ({error})") from error
    key = metadata.get("key", "")
    if checksum_of(key, arrays, found) != metadata.get("checksum"):
        raise WeightFileError("does not match its checksum")
    return key, _unpacked(arrays)


def save_weights(arrays: dict[str, np.ndarray], path: Path, metadata: dict[str, str]) -> None:
    """Write packed arrays."""
    try:
        save_file(arrays, path, metadata=metadata)
    except SafetensorError as error:
        # What the library makes of a full disk.
        raise OSError(errno.EIO, str(error), str(path)) from error


def packed(weights: RetrainedWeights) -> dict[str, np.ndarray]:
    """As a file has them: Δ in float32 where that changes nothing, in float64 elsewhere."""
    arrays = weights.numbers()
    with np.errstate(over="ignore"):
        arrays["differences"] = weights.differences.astype(np.float32)
    changed = (arrays["differences"] != weights.differences).any(axis=(1, 2))
    arrays["unrounded_rows"] = np.flatnonzero(changed)
    arrays["unrounded_differences"] = weights.differences[changed]
    arrays["rows"] = np.array([row for rows in weights.removals for row in rows], dtype=np.int64)
    arrays["offsets"] = np.cumsum([0, *map(len, weights.removals)], dtype=np.int64)
    return arrays if weights.local is None else arrays | weights.local.arrays()


def checksum_of(key: str, arrays: dict[str, np.ndarray], file_format: str = FORMAT) -> str:
    """SHA-256 of format, key and arrays."""
    digest = hashlib.sha256(f"{file_format} {key}".encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _unpacked(arrays: dict[str, np.ndarray]) -> RetrainedWeights:
    removals = _removals(arrays)
    places, unrounded = arrays["unrounded_rows"], arrays["unrounded_differences"]
    differences = arrays["differences"].astype(np.float64)
    if len(places) and not 0 <= places.min() <= places.max() < len(differences):
        raise WeightFileError("has unrounded rows that are none of its models")
    differences[places] = unrounded
    return RetrainedWeights(
        removals=removals,
        differences=differences,
        local=LocalFacts(**{name: arrays[name] for name in LOCAL}) if "labels" in arrays else None,
        **{name: arrays[name] for name in PER_MODEL},
    )


def _removals(arrays: dict[str, np.ndarray]) -> tuple[Removal, ...]:
    if "indices" in arrays:
        # Format 2, where −1 is the null control.
        return tuple(() if index == -1 else (index,) for index in arrays["indices"].tolist())
    rows, offsets = arrays["rows"].tolist(), arrays["offsets"].tolist()
    if offsets[0] != 0 or offsets[-1] != len(rows) or offsets != sorted(offsets):
        raise WeightFileError("has offsets that do not divide its rows into removals")
    removals = tuple(tuple(rows[first:last]) for first, last in pairwise(offsets))
    if any(row < 0 for row in rows) or any(tuple(sorted(set(found))) != found for found in removals):
        raise WeightFileError("has removals whose rows do not ascend")
    return removals


def _check_shapes(slices: Mapping[str, Any], file_format: str) -> None:
    """One row per model in every array, three dimensions in the differences, and the types of `DTYPES`."""
    shapes = {name: tuple(found.get_shape()) for name, found in slices.items()}
    if any(len(shape) != (3 if name.endswith("differences") else 1) for name, shape in shapes.items()):
        raise WeightFileError(f"has arrays of other dimensions than retrained weights: {shapes}")
    others = ("unrounded_rows", "unrounded_differences", "rows", "offsets")
    per_model = {shape[0] for name, shape in shapes.items() if name not in others}
    per_model |= {shapes["offsets"][0] - 1} if "offsets" in shapes else set()
    unrounded = {shapes["unrounded_rows"][0], shapes["unrounded_differences"][0]}
    features = {shapes[name][1:] for name in ("differences", "unrounded_differences")}
    if len(per_model) > 1 or len(unrounded) > 1 or len(features) > 1:
        raise WeightFileError(f"has arrays of different lengths: {shapes}")
    types = {name: found.get_dtype() for name, found in slices.items()}
    if types != DTYPES[file_format]:
        raise WeightFileError(f"has arrays of other types than retrained weights: {types}")
