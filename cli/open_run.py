"""Opening a run folder for the length of a command: one command at a time, and only sound files in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cli.compose import Config
from cli.console import warn
from cli.family import started_by_command
from cli.manifest import set_aside_unsound
from cli.run_folder import RunFolder, check_same_configuration, run_folder
from retrain.distributed import first_of_launched, launched

LOCK = ".lock"
HOLDER = ".lock-holder"


@contextmanager
def open_run_folder(config: Config, create: bool = False) -> Iterator[RunFolder]:
    """The folder of this configuration, for this command alone until the block ends.

    Another command that has it open is waited for, and named. Files that are not as they were written are set
    aside first. Ranks other than the first of a launched run rely on the first.

    Args:
        config: names the folder.
        create: make it if need be; otherwise one that is not there yet is neither made nor locked.

    Raises:
        UsageError: as `run_folder`.
        StageError: it holds a run of another configuration.
    """
    folder = run_folder(config)
    if create:
        folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.path.exists() or started_by_command() or (launched() and not first_of_launched()):
        yield folder
        return
    with open_run(folder):
        check_same_configuration(folder, config)
        yield folder


@contextmanager
def open_run(folder: RunFolder) -> Iterator[None]:
    """A folder that is there, whatever its configuration: locked, and what is unsound in it set aside."""
    with _lock(folder.path):
        set_aside_unsound(folder, warn)
        yield


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    # One object a path and process, so that a stage within `repro run` may open the folder again.
    lock = FileLock(path / LOCK, is_singleton=True)
    holder = path / HOLDER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warn(f"waiting for {_who(holder)}, which is at work in {path}")
        lock.acquire()
    try:
        if lock.lock_counter == 1:
            holder.write_text(f"process {os.getpid()}", encoding="utf-8")
        yield
    finally:
        if lock.lock_counter == 1:
            holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8") or "another command"
    except (OSError, UnicodeDecodeError):
        return "another command"
