"""Ranks and collectives, all of them: each does nothing in one process, so the mathematics runs unchanged."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

COLLECTIVE_TIMEOUT = timedelta(minutes=30)


def launched() -> bool:
    """Whether torchrun, or this program's own launcher, has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the ranks that the environment names, for the length of the block; alone, do nothing."""
    if not launched():
        yield
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank_device(device: torch.device) -> torch.device:
    """This rank's own device: the GPU of its local rank, or the CPU."""
    if device.type != "cuda" or not launched():
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def share_threads() -> None:
    """Divide the CPU threads among the ranks of this machine, which would otherwise fight over the cores."""
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks_here))


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add the ranks' tensors up, in place, on every rank."""
    if num_ranks() > 1:
        dist.all_reduce(tensor)
    return tensor


def wait_for_all() -> None:
    """Return when every rank has come here."""
    if num_ranks() > 1:
        dist.barrier()


def rank_rows(count: int) -> slice:
    """The contiguous rows of `count` that this rank works on: near-equal shares in rank order."""
    return slice(count * rank() // num_ranks(), count * (rank() + 1) // num_ranks())
