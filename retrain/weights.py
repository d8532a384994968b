"""The cache of leave-one-out weights: one file a finished batch, keyed by θ̂, so nothing is retrained twice.

A file holds, for each of its models, the index left out (`NOTHING` for the null control), Δ = θ̂₋ᵢ − θ̂ in
float32 with all the model's features, ‖∇R₋ᵢ‖ before that rounding, and a bound on the distance of θ̂ + Δ, as
stored, from the minimiser. Its metadata name the key and a checksum; a file that fails either is not used.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from erm.files import write_atomically

FORMAT = "1"


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
        checksum = _checksum(arrays)
        path = self.folder / f"{checksum[:16]}.safetensors"
        metadata = {"format": FORMAT, "key": self.key, "checksum": checksum}
        write_atomically(path, lambda temporary: save_file(arrays, temporary, metadata=metadata))
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
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT or metadata.get("key") != self.key:
                    return None
                arrays = {name: file.get_tensor(name) for name in LeaveOneOutWeights.__dataclass_fields__}
        except (SafetensorError, OSError) as error:
            self.warn(f"{path} is damaged ({error}) and is not used; its models are solved again")
            return None
        if _checksum(arrays) != metadata.get("checksum"):
            self.warn(f"{path} does not match its checksum and is not used; its models are solved again")
            return None
        return LeaveOneOutWeights(**arrays)


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
