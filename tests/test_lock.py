"""The lock of a run folder: one command at a time, and none waits for itself, whatever filelock's version."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from cli import console
from repro.errors import StageError
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder

PATIENCE = 10
HOLD = """
import sys
from filelock import FileLock

with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def does_not_wait(work: Callable[[], None]) -> None:
    """Do it in a thread that may be left behind: what waits for ever fails the test and not the suite."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = Thread(target=target, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "still waiting"
    if raised:
        raise raised[0]


def make(path: Path) -> Path:
    path.mkdir()
    return path


def open_twice(first: Path, second: Path) -> None:
    with open_run(RunFolder(first)):
        holder = (first / ".lock-holder").read_text(encoding="utf-8")
        with open_run(RunFolder(second)):
            pass
        # The inner block has not given the folder away.
        assert (first / ".lock-holder").read_text(encoding="utf-8") == holder
        assert is_held(first)


def is_held(folder: Path) -> bool:
    """Whether another process would have to wait."""
    ask = "import sys; from filelock import FileLock; FileLock(sys.argv[1]).acquire(timeout=0)"
    asked = subprocess.run(
        [sys.executable, "-c", ask, folder / ".lock"], capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0 or "Timeout" in asked.stderr, asked.stderr
    return asked.returncode != 0


@pytest.mark.versions
@pytest.mark.parametrize("name", ["run", "link", "link/../run"])
def test_a_stage_within_a_command_opens_the_folder_again(tmp_path: Path, name: str) -> None:
    first = make(tmp_path / "run")
    (tmp_path / "link").symlink_to(first)
    does_not_wait(lambda: open_twice(first, tmp_path / name))
    assert not (first / ".lock-holder").exists()
    assert not is_held(first)


@pytest.mark.versions
def test_a_command_that_would_wait_for_itself_fails(tmp_path: Path) -> None:
    """Two names of one lock that no path resolves to the other, as two mounts of one file system have."""
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    for name in (".lock", ".lock-holder"):
        (first / name).touch()
        os.link(first / name, second / name)
    with pytest.raises(StageError, match="would wait for itself") as refused:
        does_not_wait(lambda: open_twice(first, second))
    assert str(second) in str(refused.value)
    assert not is_held(first)


@pytest.mark.versions
def test_a_thread_waits_for_another_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, order = RunFolder(make(tmp_path / "run")), list[str]()

    def second() -> None:
        with open_run(folder):
            order.append("second")

    with console.speaking(quiet=False, log_json=False):
        with open_run(folder):
            thread = Thread(target=second, daemon=True)
            thread.start()
            thread.join(0.3)
            order.append("first")
        thread.join(PATIENCE)
    assert order == ["first", "second"]
    assert f"waiting for process {os.getpid()}," in capsys.readouterr().err


def test_a_process_of_the_same_number_is_not_this_process(tmp_path: Path) -> None:
    """Containers that share a disk number their processes alike, so the number alone says nothing."""
    folder = make(tmp_path / "run")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder / ".lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    (folder / ".lock-holder").write_text(f"process {os.getpid()}\nof another machine", encoding="utf-8")
    opened = Thread(target=lambda: open_twice(folder, folder), daemon=True)
    opened.start()
    opened.join(0.3)
    assert opened.is_alive()
    other.communicate("let go\n", timeout=PATIENCE)
    opened.join(PATIENCE)
    assert not opened.is_alive()
    assert not (folder / ".lock-holder").exists()


@pytest.mark.parametrize("left", [b"", b"process 1", b"process 1\nabc", b"\xff\xfe\x00"])
def test_what_a_killed_command_left_behind_is_no_holder(tmp_path: Path, left: bytes) -> None:
    folder = make(tmp_path / "run")
    (folder / ".lock").touch()
    (folder / ".lock-holder").write_bytes(left)
    does_not_wait(lambda: open_twice(folder, folder))
