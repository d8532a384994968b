"""fit.safetensors: where a fit stood that was interrupted, so that `train` goes on there."""

import json
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from repro.folder.manifest import remove_result, write_result
from repro.folder.paths import RunFolder
from repro.notices import note


@dataclass(frozen=True)
class FitCheckpoint:
    """The `erm.checkpoint.Checkpoint` of a run folder.

    Args:
        folder: the run, open for this command.
        configuration: what determines θ̂: the state of another fit is not gone on from.
        data_checksum: of the examples: nor is one on other data.
    """

    folder: RunFolder
    configuration: dict[str, Any]
    data_checksum: str

    def load(self) -> dict[str, Tensor] | None:
        """The state that an interrupted fit has left; None where there is none of this configuration."""
        path = self.folder.fit_checkpoint
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("of") != self._of:
                    return None
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, OSError):
            return None
        note(f"the fit goes on where it was interrupted: {path}")
        return state

    def save(self, state: dict[str, Tensor]) -> None:
        """Write a state in place of the one before."""
        tensors = {name: part.cpu().contiguous() for name, part in state.items()}
        metadata = {"of": self._of}
        write_result(
            self.folder,
            self.folder.fit_checkpoint,
            lambda temporary: save_file(tensors, temporary, metadata=metadata),
        )

    def remove(self) -> None:
        """The fit has ended: there is nothing to go on with."""
        remove_result(self.folder, self.folder.fit_checkpoint)

    @property
    def _of(self) -> str:
        return json.dumps([self.configuration, self.data_checksum], sort_keys=True)
