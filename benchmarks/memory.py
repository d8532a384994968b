"""The most memory that a process holds while something runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SECONDS_BETWEEN_LOOKS = 0.02


class Peak:
    """Bytes resident at the start, and the most there were."""

    def __init__(self, process: psutil.Process) -> None:
        self.at_start = self.most = process.memory_info().rss

    @property
    def gib_above_start(self) -> float:
        return (self.most - self.at_start) / 2**30

    @property
    def gib(self) -> float:
        return self.most / 2**30


@contextmanager
def watch_memory(pid: int | None = None) -> Iterator[Peak]:
    """Watch a process, this one when None, for the length of the block."""
    process, ended = psutil.Process(pid), threading.Event()
    peak = Peak(process)

    def watch() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            try:
                peak.most = max(peak.most, process.memory_info().rss)
            except psutil.NoSuchProcess:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
