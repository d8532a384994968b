"""Tensors in torch's own memory, which starts at multiples of 64 bytes."""

import torch
from jaxtyping import Shaped
from torch import Tensor

BYTES = 64
"""What torch's own memory starts at multiples of."""


def aligned(tensor: Shaped[Tensor, "*shape"], like: Tensor) -> Shaped[Tensor, "*shape"]:
    """A copy in the precision and on the device of another tensor.

    Memory that numpy or a file reader has allocated may start anywhere, and the order in which a product adds
    its terms, hence its last bits, depends on that: without the copy, a command run twice may differ there.
    """
    return torch.empty(tensor.shape, dtype=like.dtype, device=like.device).copy_(tensor)


def is_aligned(tensor: Shaped[Tensor, "*shape"]) -> bool:
    """Whether a tensor lies as `aligned` would lay it."""
    return tensor.is_contiguous() and tensor.data_ptr() % BYTES == 0
