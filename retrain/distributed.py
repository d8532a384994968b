"""Ranks and collectives, all of them: each does nothing in one process, so the mathematics runs unchanged.

Before the ranks add up, or exchange what each has, they meet at a barrier that knows who is missing, so that
a rank that died or hangs is named instead of waited for without end. `agree` and the sending of files have no
barrier of their own: they follow one, and wait no longer than the group's timeout.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

DEFAULT_TIMEOUT = timedelta(minutes=30)


class RankTimeoutError(RuntimeError):
    """A rank did not come to a collective in time."""


class _Group:
    """What this process knows of the group it is in."""

    timeout = DEFAULT_TIMEOUT
    on_cpu: dist.ProcessGroup | None = None
    """Gloo, whatever the tensors travel by: barriers that name the missing, and what lies in host memory."""


def launched() -> bool:
    """Whether torchrun, or this program's own launcher, has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)


def first_of_launched() -> bool:
    """Whether this is the first of the launched processes; known before they have met."""
    return os.environ.get("RANK", "0") == "0"


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def num_ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def process_group(device: torch.device, timeout: timedelta = DEFAULT_TIMEOUT) -> Iterator[None]:
    """Join the ranks that the environment names, for the length of the block; alone, do nothing.

    Args:
        device: where the tensors of collectives lie: nccl on GPUs, gloo on the CPU.
        timeout: how long ranks wait for one that does not come, before `RankTimeoutError`.
    """
    if not launched():
        yield
        return
    # The barrier is to run out first: it knows whom it waits for.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=2 * timeout)
    _Group.timeout, _Group.on_cpu = timeout, dist.new_group(backend="gloo", timeout=2 * timeout)
    try:
        yield
    finally:
        _Group.on_cpu = None
        dist.destroy_process_group()


def rank_device(device: torch.device) -> torch.device:
    """This rank's own device: the GPU of its local rank, or the CPU."""
    if device.type != "cuda" or not launched():
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def ranks_here() -> int:
    """Ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1


def share_threads() -> None:
    """Divide the CPU threads among the ranks of this machine, which would otherwise fight over the cores."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks_here()))


def rank_rows(count: int) -> slice:
    """The contiguous rows of `count` that this rank works on: near-equal shares in rank order."""
    return slice(count * rank() // num_ranks(), count * (rank() + 1) // num_ranks())


def wait_for_all() -> None:
    """Return when every rank has come here.

    Raises:
        RankTimeoutError: some did not; it names them.
    """
    if num_ranks() == 1:
        return
    try:
        dist.monitored_barrier(_Group.on_cpu, timeout=_Group.timeout, wait_all_ranks=True)
    except RuntimeError as error:
        raise RankTimeoutError(
            f"rank {rank()} waited {_Group.timeout.total_seconds():g} s for the others in vain "
            f"({str(error).splitlines()[0]})"
        ) from error


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Add the ranks' tensors up, in place, on every rank."""
    if num_ranks() > 1:
        wait_for_all()
        dist.all_reduce(tensor)
    return tensor


def agree(tensor: Tensor) -> Tensor:
    """Overwrite the tensor by rank 0's, in place: what ranks decide by must be the same to the last bit."""
    if num_ranks() > 1:
        dist.broadcast(tensor, src=0)
    return tensor


def from_first_rank(value: T) -> T:
    """What rank 0 has, on every rank. Only between the ranks of one run: they trust each other's pickles."""
    if num_ranks() == 1:
        return value
    wait_for_all()
    box = [value]
    dist.broadcast_object_list(box, src=0, group=_Group.on_cpu)
    return box[0]


def from_every_rank(value: T) -> list[T]:
    """What each rank has, in rank order, on every rank."""
    if num_ranks() == 1:
        return [value]
    wait_for_all()
    values: list[T | None] = [None] * num_ranks()
    dist.all_gather_object(values, value, group=_Group.on_cpu)
    return values  # type: ignore[return-value]


def send_bytes(content: bytes) -> None:
    """Hand rank 0 a file's content, which takes it by `receive_bytes`."""
    body = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.send(torch.tensor([len(body)]), dst=0, group=_Group.on_cpu)
    dist.send(body, dst=0, group=_Group.on_cpu)


def receive_bytes(source: int) -> bytes:
    """A file's content from another rank."""
    length = torch.zeros(1, dtype=torch.int64)
    dist.recv(length, src=source, group=_Group.on_cpu)
    body = torch.empty(int(length), dtype=torch.uint8)
    dist.recv(body, src=source, group=_Group.on_cpu)
    content: bytes = np.asarray(body).tobytes()
    return content
