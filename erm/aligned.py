"""Tensors in torch's own memory, which starts at multiples of 64 bytes."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def aligned(tensor: Shaped[Tensor, "*shape"], like: Tensor) -> Shaped[Tensor, "*shape"]:
    """A copy in the precision and on the device of another tensor.

    Memory that numpy or a file reader has allocated may start anywhere, and the order in which a product adds
    its terms, hence its last bits, depends on that: without the copy, a command run twice may differ there.
    """
    return torch.empty(tensor.shape, dtype=like.dtype, device=like.device).copy_(tensor)
