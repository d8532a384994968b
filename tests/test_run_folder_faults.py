"""What surrounds a run folder goes wrong: a full or read-only disk, another command at work, odd names."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from tests.command_line import FAST, repro, spawn, succeed

PATIENCE = 120
METHODS = ("--method", "cg", "--method", "lissa")
SETTINGS = (*FAST, "influence.depth=200", "influence.repeats=2")
TABLES = ("influence/cg.csv", "influence/lissa.csv", "leave_one_out.csv")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of a run that nothing went wrong with."""
    folder = tmp_path_factory.mktemp("expected") / "run"
    succeed("run", *METHODS, *SETTINGS, f"output_dir={folder}")
    return tables(folder)


@pytest.fixture(scope="module")
def expected_of_one_thread(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same from a process of its own, whose sums are added up in another order."""
    folder = tmp_path_factory.mktemp("expected") / "run"
    finish("run", *METHODS, *SETTINGS, f"output_dir={folder}")
    return tables(folder)


def finish(*arguments: str) -> str:
    """In a process of its own; its standard output."""
    process = spawn(*arguments)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def predict(folder: Path) -> tuple[str, ...]:
    """Overrides of a run whose next stage is retraining."""
    overrides = (*FAST, f"output_dir={folder}")
    succeed("train", *overrides)
    succeed("influence", "--method", "cg", *overrides)
    succeed("influence", "--method", "lissa", *SETTINGS, f"output_dir={folder}")
    return overrides


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def mount(*arguments: str) -> bool:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)):
        pytest.skip("this user cannot mount a file system")
    yield disk
    # Lazily, because the reader of a weight file may still have it mapped.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def assert_clear_failure(process: "subprocess.Popen[str]", said: str) -> None:
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [8, 64, 120, 160, 240, 320, 400])
def test_a_full_disk_is_said_and_what_was_complete_is_used(
    small_disk: Path, expected_of_one_thread: dict[str, bytes], kilobytes: int
) -> None:
    folder = small_disk / "run"
    assert mount("-o", f"remount,size={kilobytes}k", str(small_disk))
    assert_clear_failure(spawn("run", *METHODS, *SETTINGS, f"output_dir={folder}"), "No space left on device")
    complete = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert mount("-o", "remount,size=16m", str(small_disk))
    said = finish("run", *METHODS, *SETTINGS, f"output_dir={folder}")
    assert tables(folder) == expected_of_one_thread
    assert {path: path.stat().st_mtime_ns for path in complete} == complete
    if kilobytes >= 64:
        assert "already trained" in said


def test_a_folder_made_read_only_is_said_and_what_was_complete_is_used(
    small_disk: Path, expected: dict[str, bytes]
) -> None:
    assert mount("-o", "remount,size=16m", str(small_disk))
    folder = small_disk / "run"
    overrides = predict(folder)
    # A mount of its own, because the lock beside it is open for writing.
    weights = folder / "retrain" / "weights"
    weights.mkdir(parents=True)
    assert mount("--bind", str(weights), str(weights))
    process = spawn("retrain", *overrides, "retrain.batch_size=1")
    wait_until(lambda: any(weights.glob("[!.]*")))
    process.send_signal(signal.SIGSTOP)
    while not mount("-o", "remount,bind,ro", str(weights)):
        # A file is open for writing: a little further.
        process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    assert_clear_failure(process, "Read-only file system")
    kept = list(weights.glob("[!.]*"))
    assert kept
    assert mount("-o", "remount,bind,rw", str(weights))
    said = succeed("retrain", *overrides)
    assert f"{count_wanted(said) - len(kept)} solved now" in said
    succeed("plot", *overrides)
    # Other batches than at once: the same but for rounding, which is far below the certificates.
    found, wanted = (pd.read_csv(source) for source in (folder / TABLES[-1], BytesIO(expected[TABLES[-1]])))
    assert ((found["actual_change"] - wanted["actual_change"]).abs() <= wanted["certificate"]).all()
    subprocess.run(["umount", "--lazy", str(weights)], check=True)


def count_wanted(said: str) -> int:
    """From "N leave-one-out models and the null control": N + 1."""
    return int(said.split(" leave-one-out models")[0].split()[-1]) + 1


def test_a_limit_on_file_size_is_said(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """Works where nothing can be mounted."""
    folder = tmp_path / "run"
    overrides = (*SETTINGS, f"output_dir={folder}")
    succeed("train", *overrides)
    before, limit = resource.getrlimit(resource.RLIMIT_FSIZE), 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        result = repro("influence", "--method", "cg", *FAST, f"output_dir={folder}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    assert "File too large" in result.stderr
    assert not list((folder / "influence").glob("*"))
    succeed("run", *METHODS, *overrides)
    assert tables(folder) == expected


def test_two_commands_at_once_take_turns(tmp_path: Path, expected: dict[str, bytes]) -> None:
    folder = tmp_path / "run"
    overrides = predict(folder)
    first = spawn("retrain", *overrides)
    holder = folder / ".lock-holder"
    # It is there a moment before it says who holds the lock.
    wait_until(lambda: holder.exists() and str(first.pid) in holder.read_text(encoding="utf-8"))
    first.send_signal(signal.SIGSTOP)
    second = spawn("retrain", *overrides)
    assert second.stderr is not None
    assert f"waiting for process {first.pid}" in second.stderr.readline()
    first.send_signal(signal.SIGCONT)
    ended = [process.communicate(timeout=PATIENCE) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], ended
    assert "0 solved now" in ended[1][0]
    succeed("plot", *overrides)
    assert tables(folder) == expected


@pytest.mark.parametrize("name", ["mit Ümläut 数", "-a=b, [c] {d} 'e\" ${f} #g"])
def test_folders_may_have_any_name(tmp_path: Path, name: str, expected: dict[str, bytes]) -> None:
    quoted = str(tmp_path / name / "run").replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    succeed("run", *METHODS, *SETTINGS, f"output_dir='{quoted}'")
    assert tables(tmp_path / name / "run") == expected


def test_links_and_dots_lead_to_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    succeed("train", *SETTINGS, f"output_dir={tmp_path}/link/run")
    succeed("run", *METHODS, *SETTINGS, "output_dir=../real/./run")
    assert tables(tmp_path / "real" / "run") == expected


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    result = repro("train", *SETTINGS, f"output_dir={tmp_path}/link")
    assert result.exit_code in (1, 2)
    assert "link" in result.stderr
    assert not os.path.lexists(tmp_path / "nowhere")
