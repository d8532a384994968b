"""The cache of retrained weights: one file per finished batch, keyed by θ̂, so nothing is retrained twice."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from erm.files import set_aside, write_atomically
from retrain.removal import Removal
from retrain.weight_file import (
    FORMAT,
    LOCAL_FORMAT,
    RetrainedWeights,
    WeightFileError,
    checksum_of,
    packed,
    read_weights,
    save_weights,
)


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

    def write(self, weights: RetrainedWeights) -> Path:
        """Add one file of finished models."""
        arrays, written_as = packed(weights), FORMAT if weights.local is None else LOCAL_FORMAT
        checksum = checksum_of(self.key, arrays, written_as)
        path = self.folder / f"{checksum[:16]}.safetensors"
        metadata = {"format": written_as, "key": self.key, "checksum": checksum}
        write_atomically(path, lambda temporary: save_weights(arrays, temporary, metadata))
        return path

    def parts(self, wanted: Collection[Removal] | None = None) -> Iterator[RetrainedWeights]:
        """The sound models of this key whose removal is wanted (None: all), one file at a time.

        Every model comes once: of those that several files hold, the one of the smallest gradient norm. No
        more than one file is in memory, so that tens of thousands of models can be gone through.
        """
        for path, places in self._best_places(wanted).items():
            part = self._read_file(path)
            if part is not None:
                yield part.select(np.array(places))

    def _best_places(self, wanted: Collection[Removal] | None) -> dict[Path, list[int]]:
        """Which models of which files are the best of every wanted removal."""
        best: dict[Removal, tuple[float, Path, int]] = {}
        for path in self.files():
            part = self._read_file(path)
            if part is None:
                continue
            for place, (rows, norm) in enumerate(zip(part.removals, part.gradient_norms, strict=True)):
                if rows not in best or norm < best[rows][0]:
                    best[rows] = float(norm), path, place
        found: dict[Path, list[int]] = {}
        for rows in sorted(best if wanted is None else best.keys() & set(wanted)):
            _, path, place = best[rows]
            found.setdefault(path, []).append(place)
        return found

    def files(self) -> list[Path]:
        """Finished files, of this key or others, by name."""
        return sorted(self.folder.glob("[!.]*.safetensors"))

    def removals(self) -> set[Removal]:
        """The removals of all stored models."""
        return {rows for part in self.parts() for rows in part.removals}

    def settled_removals(self, tolerance: float) -> set[Removal]:
        """The removals that need not be solved for this tolerance: see `RetrainedWeights.settled`."""
        return {
            rows
            for part in self.parts()
            for rows, settled in zip(part.removals, part.settled(tolerance), strict=True)
            if settled
        }

    def _read_file(self, path: Path) -> RetrainedWeights | None:
        try:
            key, weights = read_weights(path)
        except FileNotFoundError:
            # Another process has set it aside meanwhile.
            return None
        except WeightFileError as error:
            self.warn(f"{path} {error}; set aside as {set_aside(path).name}. Its models are solved again")
            return None
        return weights if key == self.key else None
