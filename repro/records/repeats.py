"""influence/METHOD.safetensors: the independent estimates of s_test of a stochastic method.

The predictions of a group's members are correlated, since all come from one s_test; so the standard error of
their sum can only be had from the repeats themselves.
"""

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder

Repeats = dict[int, Float[Tensor, "r p"]]
"""By test point; of a method without repeats there are none."""
TABLE = "table"
"""Under this key the file names the checksum of the table that was written with it."""


def write_repeats(folder: RunFolder, method: str, table_checksum: str | None, repeats: Repeats) -> None:
    """Write the estimates beside the table that they belong to; without any, a file of earlier ones goes."""
    path = folder.influence_repeats(method)
    if not repeats:
        path.unlink(missing_ok=True)
        return
    tensors = {str(target): found.cpu().contiguous() for target, found in repeats.items()}
    metadata = {TABLE: str(table_checksum)}
    write_result(folder, path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def read_repeats(folder: RunFolder, method: str, table_checksum: str | None) -> Repeats:
    """The estimates that were written with a table; none where they are missing, damaged or another's."""
    try:
        with safe_open(folder.influence_repeats(method), framework="pt") as file:
            if (file.metadata() or {}).get(TABLE) != table_checksum:
                return {}
            found = {int(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError):
        return {}
    sound = all(one.dim() == 2 and one.dtype == torch.float64 for one in found.values())
    return found if sound else {}
