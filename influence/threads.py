"""As many threads as a recursion can use.

A step of LiSSA is a few products of so few numbers that a second thread saves it 0.04 ms on an idle machine.
Beside other work it costs far more: at every product the threads wait for each other, and for one that has no
core until the system gives it one, some milliseconds later. So a recursion whose steps are small runs on one
thread; `benchmarks/busy.py` measures what that is worth.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_STEP = 10_000_000
"""Repeats × examples per step × parameters below which a step is small: its product takes one core about
5 ms, which is what waiting for a second one costs beside other work, and idle machines gain half of it."""


@contextmanager
def threads_for(step: int) -> Iterator[None]:
    """One thread inside the block if its steps are small; those there were, afterwards, however it ends.

    The numbers are the same to the last bit: no sum of a small step is shared out among threads.

    Args:
        step: repeats × examples per step × parameters.
    """
    before = torch.get_num_threads()
    if step < SMALL_STEP:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
