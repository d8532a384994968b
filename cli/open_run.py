"""Opening a run folder for the length of a command: one command at a time, and only sound files in it."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cli.compose import Config
from cli.console import warn
from cli.family import started_by_command
from cli.inside import refuse_what_leads_out
from cli.manifest import set_aside_unsound
from cli.printable import printable
from cli.run_folder import RunFolder, check_same_configuration, run_folder
from cli.stored_config import targets
from cli.trust import refuse_code_of_others
from retrain.distributed import first_of_launched, launched

LOCK = ".lock"
HOLDER = ".lock-holder"
LONGEST_HOLDER = 40


@contextmanager
def open_run_folder(config: Config, create: bool = False) -> Iterator[RunFolder]:
    """The folder of this configuration, for this command alone until the block ends.

    Another command that has it open is waited for, and named. Files that are not as they were written are set
    aside first. Ranks other than the first of a launched run rely on the first.

    Args:
        config: names the folder.
        create: make it if need be; otherwise one that is not there yet is neither made nor locked.

    Raises:
        UsageError: as `run_folder` and `open_run`.
        StageError: it holds a run of another configuration.
    """
    folder = run_folder(config)
    if create:
        folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.path.exists() or started_by_command() or (launched() and not first_of_launched()):
        yield folder
        return
    typed = {str(target) for _, target in targets(config.values)}
    with open_run(folder, typed):
        check_same_configuration(folder, config)
        yield folder


@contextmanager
def open_run(folder: RunFolder, typed: Collection[str] = ()) -> Iterator[None]:
    """A folder that is there, whatever its configuration: locked, and what is unsound in it set aside.

    Args:
        folder: the run folder, which may be a stranger's.
        typed: targets in the configuration that the user has given.

    Raises:
        UsageError: something in it leads out of it, or names code that is neither this tool's nor trusted.
    """
    refuse_what_leads_out(folder.path)
    with _lock(folder.path):
        set_aside_unsound(folder, warn)
        refuse_code_of_others(folder.path, typed)
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
            _name_holder(holder)
        yield
    finally:
        if lock.lock_counter == 1:
            holder.unlink(missing_ok=True)
        lock.release()


def _name_holder(holder: Path) -> None:
    """Into a new file: one that is there could be another file by a second name."""
    holder.unlink(missing_ok=True)
    with holder.open("x", encoding="utf-8") as file:
        file.write(f"process {os.getpid()}")


def _who(holder: Path) -> str:
    try:
        with holder.open(encoding="utf-8") as file:
            return printable(file.read(LONGEST_HOLDER)) or "another command"
    except (OSError, UnicodeDecodeError):
        return "another command"
