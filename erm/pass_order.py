"""In which order sums over examples go through them, so that their zeros can be left out.

Most features of an image are zero. With the features in the order of how many examples have them, and the
examples in that of the rarest feature they have, a chunk of examples needs the first features alone: on MNIST
424 of 720. Nothing but zeros is left out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

ALIGNMENT = 16
"""Rows and columns of a product in multiples of this many numbers: on MNIST, 720 features instead of 715 and
512 models instead of 500 take a fifth off a float32 pass."""
CHUNK_ROWS = 1024
"""Examples a product takes at once: logits of a chunk stay near the cache, and sums over n are blocked."""


@dataclass(frozen=True, kw_only=True)
class PassOrder:
    """In which order passes go through examples and features."""

    rows: Int[Tensor, " n"]
    """Examples, by the rarest feature that each has."""
    features: Int[Tensor, " d"]
    """Features, by how many examples have them, most first."""
    widths: tuple[int, ...]
    """Of each chunk of `CHUNK_ROWS` examples, how many of the first features hold all that is not zero."""


def pass_order(x: Float[Tensor, "n d"]) -> PassOrder:
    """The order for examples with these features."""
    present = x != 0
    features = present.sum(dim=0).argsort(descending=True, stable=True)
    places = torch.arange(1, x.shape[1] + 1, dtype=torch.int32, device=x.device)
    needed = torch.zeros(len(x), dtype=torch.int32, device=x.device)
    if x.shape[1]:
        chunks = torch.split(present, CHUNK_ROWS)
        needed = torch.cat([(chunk[:, features] * places).amax(dim=1) for chunk in chunks])
    needed, rows = needed.sort(stable=True)
    most = [int(chunk[-1]) for chunk in torch.split(needed, CHUNK_ROWS) if len(chunk)]
    widths = tuple(min(width + -width % ALIGNMENT, x.shape[1]) for width in most)
    return PassOrder(rows=rows, features=features, widths=widths)
