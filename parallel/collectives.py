"""What ranks exchange, by the usual names. Each collective says what it does in one process: nothing, mostly.

Before the ranks add up, or exchange what each has, they meet at a barrier that knows who is missing, so that
a rank that died or hangs is named instead of waited for without end. `broadcast` and the sending of bytes
have no barrier of their own: they follow one, and wait no longer than twice the group's timeout.

Objects travel as pickles: only between the ranks of one run, which trust each other.
"""

from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from parallel.group import Group

T = TypeVar("T")


class RankTimeoutError(RuntimeError):
    """A rank did not come to a collective in time."""


def barrier(group: Group) -> None:
    """Return when every rank has come here; in one process at once.

    Raises:
        RankTimeoutError: some did not; it names them.
    """
    if group.size == 1:
        return
    try:
        dist.monitored_barrier(group.on_host, timeout=group.timeout, wait_all_ranks=True)
    except RuntimeError as error:
        raise RankTimeoutError(
            f"rank {group.rank} waited {group.timeout.total_seconds():g} s for the others in vain "
            f"({str(error).splitlines()[0]})"
        ) from error


def all_reduce_sum(tensor: Tensor, group: Group) -> Tensor:
    """Add the ranks' tensors up, in place, on every rank; in one process the tensor as it is."""
    if group.size > 1:
        barrier(group)
        dist.all_reduce(tensor, group=group.on_device)
    return tensor


def broadcast(tensor: Tensor, group: Group) -> Tensor:
    """Overwrite the tensor by rank 0's, in place; in one process the tensor as it is.

    What ranks decide by has to be the same to the last bit, and sums are not on every rank.
    """
    if group.size > 1:
        dist.broadcast(tensor, src=0, group=group.on_device)
    return tensor


def broadcast_object(value: T, group: Group) -> T:
    """What rank 0 has, on every rank; in one process the value itself."""
    if group.size == 1:
        return value
    barrier(group)
    box = [value]
    dist.broadcast_object_list(box, src=0, group=group.on_host)
    return box[0]


def all_gather_object(value: T, group: Group) -> list[T]:
    """What each rank has, in rank order, on every rank; in one process a list of the value alone."""
    if group.size == 1:
        return [value]
    barrier(group)
    values: list[T | None] = [None] * group.size
    dist.all_gather_object(values, value, group=group.on_host)
    return values  # type: ignore[return-value]


def send_bytes(content: bytes, to: int, group: Group) -> None:
    """Hand another rank some bytes, which takes them by `receive_bytes`. There is no other in one process."""
    body = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.send(torch.tensor([len(body)]), dst=to, group=group.on_host)
    dist.send(body, dst=to, group=group.on_host)


def receive_bytes(source: int, group: Group) -> bytes:
    """The bytes that another rank sends. There is no other in one process."""
    length = torch.zeros(1, dtype=torch.int64)
    dist.recv(length, src=source, group=group.on_host)
    body = torch.empty(int(length), dtype=torch.uint8)
    dist.recv(body, src=source, group=group.on_host)
    content: bytes = np.asarray(body).tobytes()
    return content
