"""Which examples a step of a stochastic training sees: a function of its number, so training can go on."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def passes_of(steps: int, size: int, num_examples: int) -> int:
    """Passes over the data that so many steps are worth, at least one. Arguments as of `Minibatches`."""
    return max(1, steps * min(size, num_examples) // num_examples)


@dataclass(frozen=True)
class Minibatches:
    """Equal batches of a new random order in every epoch; what an epoch has left over it leaves out.

    That is how the released code of Koh & Liang does it, but for its first epoch, which is in file order.

    Args:
        num_examples: n, of all rows.
        size: examples per batch; all that are left where they are fewer.
        seed: of the orders.
        without: rows that no batch has. Another removal has other orders, as it had there.
    """

    num_examples: int
    size: int
    seed: tuple[int, ...]
    without: tuple[int, ...] = ()

    @property
    def left(self) -> int:
        """Examples that batches are made of."""
        return self.num_examples - len(self.without)

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return max(1, self.left // self.size)

    def rows(self, step: int) -> Int[Tensor, " b"]:
        """The rows of step 0, 1, …"""
        epoch, place = divmod(step, self.per_epoch)
        size = min(self.size, self.left)
        return _order(self, epoch)[place * size : (place + 1) * size]


@lru_cache(maxsize=1024)
def _order(batches: Minibatches, epoch: int) -> Int[Tensor, " n"]:
    kept = np.delete(np.arange(batches.num_examples), batches.without)
    generator = np.random.default_rng([*batches.seed, epoch, *batches.without])
    return torch.from_numpy(generator.permutation(kept))
