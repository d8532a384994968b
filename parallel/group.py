"""The processes that work together, as one of them sees them: a value, handed to what needs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from parallel.environment import launched

DEFAULT_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Group:
    """One of the `size` processes of a run. Made by `process_group`; `ALONE` is a group of one."""

    rank: int = 0
    size: int = 1
    ranks_here: int = 1
    """Ranks on this machine."""
    first_here: bool = True
    """Whether this is the first rank of its machine."""
    device: torch.device | None = None
    """Where this rank computes; None leaves it to the data."""
    timeout: timedelta = DEFAULT_TIMEOUT
    """How long ranks wait for one that does not come to a barrier."""
    on_device: dist.ProcessGroup | None = None
    """What tensors travel by: nccl on GPUs, gloo on the CPU. None in a group of one."""
    on_host: dist.ProcessGroup | None = None
    """Gloo in any case: for barriers that name the missing, and for what lies in host memory."""

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks and writes for all."""
        return self.rank == 0

    def own_rows(self, count: int) -> slice:
        """The contiguous rows of `count` that this rank works on: near-equal shares in rank order."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)


ALONE = Group()
"""One process, with nobody to exchange anything with."""


@contextmanager
def process_group(device: torch.device, timeout: timedelta = DEFAULT_TIMEOUT) -> Iterator[Group]:
    """Join the ranks that the environment names, for the length of the block; without any, a group of one.

    Args:
        device: where this rank computes, and the tensors of its collectives lie.
        timeout: how long ranks wait for one that does not come, before `RankTimeoutError`.
    """
    if not launched():
        yield Group(device=device, timeout=timeout)
        return
    # The barrier is to run out first: it knows whom it waits for.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=2 * timeout)
    try:
        yield Group(
            rank=dist.get_rank(),
            size=dist.get_world_size(),
            ranks_here=_ranks_here(),
            first_here=os.environ.get("LOCAL_RANK", "0") == "0",
            device=device,
            timeout=timeout,
            on_device=dist.group.WORLD,
            on_host=dist.new_group(backend="gloo", timeout=2 * timeout),
        )
    finally:
        dist.destroy_process_group()


def rank_device(device: torch.device) -> torch.device:
    """This rank's own device: the GPU of its local rank, or the CPU."""
    if device.type != "cuda" or not launched():
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def share_threads() -> None:
    """Divide the CPU threads among the ranks of this machine, which would otherwise fight over the cores."""
    if launched():
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // _ranks_here()))


def _ranks_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
