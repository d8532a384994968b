"""Processes that a command starts: it has opened the run folder, speaks for them, and they end with it."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARENT = "REPRO_PARENT_PROCESS"
"""Holds the command's process number, in the environment of the processes it starts."""
SECONDS_BETWEEN_LOOKS = 0.2


@contextmanager
def starting_processes() -> Iterator[None]:
    """Processes started in the block are this one's children."""
    os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[PARENT]


def started_by_command() -> bool:
    """Whether this process is one of several that a command has started."""
    return PARENT in os.environ


def end_with_parent() -> None:
    """From now on, end at once when the command that started this process is gone, as after SIGKILL.

    Otherwise the orphans would go on, or wait for each other, beside the command that is run again.
    """
    if not started_by_command():
        return
    parent = int(os.environ[PARENT])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
