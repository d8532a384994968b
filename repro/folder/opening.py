"""Opening a run folder for the length of a command: one command at a time, and only sound files in it."""

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import BaseFileLock, FileLock, Timeout

from erm.files import cannot_be_written
from parallel.children import started_by_command
from parallel.environment import first_of_launched, launched
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.folder.inside import refuse_what_leads_out
from repro.folder.manifest import set_aside_unsound
from repro.folder.naming import CONTENT, check_same_configuration, run_folder
from repro.folder.paths import RunFolder
from repro.folder.stored_config import targets
from repro.folder.trust import refuse_code_of_others
from repro.notices import warn
from repro.printable import printable
from repro.records.model import stored_facts

LOCK = ".lock"
HOLDER = ".lock-holder"
LONGEST_HOLDER = 80


@contextmanager
def open_run_folder(config: Config, create: bool = False) -> Iterator[RunFolder]:
    """The folder of this configuration, for this command alone until the block ends.

    Another command that has it open is waited for, and named. Files that are not as they were written are set
    aside first. Ranks other than the first of a launched run rely on the first.

    Args:
        create: make it if need be; otherwise one that is not there yet is neither made nor locked.

    Raises:
        UsageError: as `run_folder` and `open_run`.
        StageError: it holds a run of another configuration, or is open under another name.
    """
    folder = run_folder(config)
    if create:
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_written(folder.path, error) from error
    if not folder.path.exists() or not speaks_for_all():
        yield folder
        return
    typed = {str(target) for _, target in targets(config.values)}
    with open_run(folder, typed):
        facts = stored_facts(folder)
        content = None if facts is None else facts.configuration.get(CONTENT)
        check_same_configuration(folder, config, content)
        yield folder


def speaks_for_all() -> bool:
    """Whether this process is the command itself, and no rank or run that a command has started."""
    return not started_by_command() and (not launched() or first_of_launched())


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


class _Here(threading.local):
    """What this thread has open, with the files of the locks; and its own word in a holder's file."""

    def __init__(self) -> None:
        self.open: dict[Path, tuple[int, int]] = {}
        self.token = uuid4().hex


_HERE = _Here()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    folder = path.resolve()
    if folder in _HERE.open:
        # A stage within `repro run`. The lock is not asked: not every version of it knows who holds it.
        yield
        return
    lock, holder = FileLock(folder / LOCK), folder / HOLDER
    _acquire(lock, path)
    _HERE.open[folder] = _identity(folder / LOCK)
    try:
        _name_holder(holder)
        yield
    finally:
        del _HERE.open[folder]
        holder.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: BaseFileLock, path: Path) -> None:
    """Wait for whoever has the folder open, unless it is this thread, which could not close it meanwhile."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who, token = _who(path / HOLDER)
        # Not by the process number, which another machine that shares the disk may use too. Two mounts show
        # one
        # file under two identities, and two names of it may have a holder's file each.
        if token == _HERE.token or _identity(path / LOCK) in _HERE.open.values():
            raise StageError(
                f"{path / LOCK} is held by this command, which would wait for itself: the folder is open "
                "under another name, such as a second mount or a hard link. Name it the same way everywhere"
            ) from None
        warn(f"waiting for {who}, which is at work in {path}")
        lock.acquire()


def _identity(path: Path) -> tuple[int, int]:
    """Of the file itself, whatever it is called."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _name_holder(holder: Path) -> None:
    """Into a new file: one that is there could be another file by a second name."""
    holder.unlink(missing_ok=True)
    with holder.open("x", encoding="utf-8") as file:
        file.write(f"process {os.getpid()}\n{_HERE.token}")


def _who(holder: Path) -> tuple[str, str]:
    """Who has the folder open, for people; and its token, empty where there is none."""
    try:
        with holder.open(encoding="utf-8") as file:
            who, _, token = file.read(LONGEST_HOLDER).partition("\n")
    except (OSError, UnicodeDecodeError):
        who, token = "", ""
    return printable(who) or "another command", token
