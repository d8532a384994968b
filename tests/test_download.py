"""Missing files are downloaded once, checked, and never replace what is there."""

import gzip
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest
from filelock import FileLock

from cli import console
from erm.data import download
from erm.data.download import SOURCES, TEST_FILES, TRAIN_FILES, Source
from erm.data.errors import DataUnavailableError
from erm.data.mnist import load_mnist
from erm.dataset import DataError
from tests.idx_files import FILES, LOADERS, idx_bytes, tiny_arrays, write_tiny

load_tiny = partial(load_mnist, num_validation=2)


class MirrorHandler(SimpleHTTPRequestHandler):
    """Serves a folder and notes in it which paths were asked for, instead of logging them."""

    def log_message(self, format: str, *args: object) -> None:
        with Path(self.directory, "requests").open("a") as file:
            file.write(f"{self.path}\n")

    def log_error(self, format: str, *args: object) -> None:
        """Not a second time."""


class CutShort(MirrorHandler):
    """Promises one byte more than it sends."""

    def send_header(self, keyword: str, value: str) -> None:
        super().send_header(keyword, str(int(value) + 1) if keyword == "Content-Length" else value)


class Hanging(MirrorHandler):
    """Sends the first half, and then nothing until the other side gives up."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        Path(self.directory, "halfway").touch()
        self.connection.settimeout(30)
        self.connection.recv(1)


@contextmanager
def serving(folder: Path, handler: type[MirrorHandler] = MirrorHandler) -> Iterator[str]:
    """The address of a server of this folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Mirror:
    """A served folder with the tiny files, compressed."""

    folder: Path
    source: Source
    use: Callable[[Source], None]
    """Take this source for MNIST's."""

    def requests(self) -> list[str]:
        """The files that were asked for so far, without `.gz`."""
        noted = self.folder / "requests"
        return [Path(line).stem for line in noted.read_text().split()] if noted.exists() else []


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> str:
    """A mirror that refuses connections, and MNIST's only one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(SOURCES, "MNIST", replace(SOURCES["MNIST"], mirrors=(address,)))
    return address


@pytest.fixture
def mirror(
    tmp_path_factory: pytest.TempPathFactory, unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("mirror")
    checksums = {}
    for name, array in tiny_arrays().items():
        compressed = gzip.compress(idx_bytes(array))
        (folder / f"{name}.gz").write_bytes(compressed)
        checksums[name] = hashlib.sha256(compressed).hexdigest()
    with serving(folder) as address:
        source = Source(mirrors=(address,), sha256=checksums)
        use = partial(monkeypatch.setitem, SOURCES, "MNIST")
        use(source)
        yield Mirror(folder, source, use)


def files_below(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


@pytest.mark.usefixtures("unreachable")
def test_without_files_and_network_the_message_says_where_they_belong(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    (folder / TEST_FILES[1]).unlink()
    with pytest.raises(DataUnavailableError) as caught:
        load_mnist(root=tmp_path)
    for part in (*FILES, str(folder), "REPRO_DATA_ROOT", "data.root=FOLDER", "data=digits"):
        assert part in str(caught.value)
    assert f"where {TEST_FILES[1]} cannot be found" in str(caught.value)


def test_the_message_says_of_every_mirror_what_was_wrong(
    tmp_path: Path, mirror: Mirror, unreachable: str
) -> None:
    (mirror.folder / f"{TRAIN_FILES[0]}.gz").unlink()
    mirror.use(replace(mirror.source, mirrors=(unreachable, *mirror.source.mirrors)))
    with pytest.raises(DataUnavailableError) as caught:
        load_tiny(root=tmp_path)
    refused, absent = str(caught.value).split("downloading failed: ")[1].split("\n")[0].split("; ")
    assert refused.startswith(f"{unreachable}{TRAIN_FILES[0]}.gz: ")
    assert refused.endswith("Connection refused")
    assert absent.startswith(f"{mirror.source.mirrors[0]}{TRAIN_FILES[0]}.gz: 404")


@pytest.mark.usefixtures("unreachable")
def test_a_relative_root_is_reported_as_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataUnavailableError, match=str(tmp_path / "here" / "MNIST" / "raw")):
        load_mnist(root="here")


def test_a_root_that_cannot_be_written_is_data_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataUnavailableError, match="Not a directory"):
        load_mnist(root=tmp_path / "file" / "root")


@pytest.mark.usefixtures("mirror")
def test_missing_files_are_downloaded_and_nothing_else_stays(tmp_path: Path) -> None:
    data = load_tiny(root=tmp_path / "new")
    write_tiny(tmp_path / "written")
    assert data.checksum == load_tiny(root=tmp_path / "written").checksum
    assert files_below(tmp_path / "new") == sorted(FILES)
    assert sorted(path.name for path in (tmp_path / "new").iterdir() if path.is_dir()) == ["MNIST"]


def test_fashion_mnist_is_downloaded_from_its_own_source(
    tmp_path: Path, mirror: Mirror, unreachable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.use(replace(mirror.source, mirrors=(unreachable,)))
    monkeypatch.setitem(SOURCES, "FashionMNIST", mirror.source)
    LOADERS["FashionMNIST"](root=tmp_path, num_validation=2)
    assert sorted(path.name for path in (tmp_path / "FashionMNIST" / "raw").iterdir()) == sorted(FILES)


def test_loaders_that_start_together_download_once(tmp_path: Path, mirror: Mirror) -> None:
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load_tiny, root=tmp_path) for _ in range(4)]
        assert len({load.result().checksum for load in loads}) == 1
    assert sorted(mirror.requests()) == sorted(FILES)


@pytest.mark.usefixtures("mirror")
def test_a_download_fills_in_what_is_missing_and_replaces_nothing(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    (folder / TRAIN_FILES[0]).write_bytes(b"corrupt")
    (folder / TEST_FILES[0]).unlink()
    with pytest.raises(DataError, match="has 7 bytes") as caught:
        load_tiny(root=tmp_path)
    assert str(folder / TRAIN_FILES[0]) in str(caught.value)
    assert (folder / TRAIN_FILES[0]).read_bytes() == b"corrupt"


def test_a_download_with_another_checksum_is_refused_and_not_kept(tmp_path: Path, mirror: Mirror) -> None:
    served = mirror.folder / f"{TRAIN_FILES[0]}.gz"
    whole = served.read_bytes()
    # Still a sound gzip file of the same content, so nothing but the checksum can tell.
    served.write_bytes(gzip.compress(gzip.decompress(whole), compresslevel=1))
    with pytest.raises(DataUnavailableError, match="corrupted"):
        load_tiny(root=tmp_path)
    assert files_below(tmp_path) == []


def test_a_file_that_cannot_be_decompressed_to_its_end_is_not_kept(tmp_path: Path, mirror: Mirror) -> None:
    served = mirror.folder / f"{TRAIN_FILES[0]}.gz"
    served.write_bytes(served.read_bytes()[:-100])
    checksum = hashlib.sha256(served.read_bytes()).hexdigest()
    mirror.use(replace(mirror.source, sha256={**mirror.source.sha256, TRAIN_FILES[0]: checksum}))
    with pytest.raises(DataUnavailableError, match="ended before"):
        load_tiny(root=tmp_path)
    assert files_below(tmp_path) == []


def test_a_download_that_failed_goes_on_with_what_is_still_missing(tmp_path: Path, mirror: Mirror) -> None:
    served = mirror.folder / f"{TEST_FILES[0]}.gz"
    whole = served.read_bytes()
    served.unlink()
    with pytest.raises(DataUnavailableError, match=f"where {TEST_FILES[0]}, {TEST_FILES[1]} cannot be found"):
        load_tiny(root=tmp_path)
    assert files_below(tmp_path) == sorted(TRAIN_FILES)
    served.write_bytes(whole)
    assert len(load_tiny(root=tmp_path).x_train) == 5
    assert mirror.requests() == [*FILES[:3], *FILES[2:]]


@pytest.mark.parametrize("fault", ["out of reach", "cut short", "other bytes", "no such file"])
def test_the_next_mirror_is_asked_when_one_fails(
    tmp_path: Path, mirror: Mirror, unreachable: str, fault: str
) -> None:
    other = tmp_path / "other mirror"
    other.mkdir()
    for name in FILES if fault != "no such file" else ():
        content = (mirror.folder / f"{name}.gz").read_bytes()
        (other / f"{name}.gz").write_bytes(content if fault == "cut short" else content[:-1])
    with serving(other, CutShort if fault == "cut short" else MirrorHandler) as address:
        first = unreachable if fault == "out of reach" else address
        mirror.use(replace(mirror.source, mirrors=(first, *mirror.source.mirrors)))
        assert len(load_tiny(root=tmp_path / "root").x_train) == 5
    assert (other / "requests").exists() == (fault != "out of reach")
    assert mirror.requests() == list(FILES)
    assert files_below(tmp_path / "root") == sorted(FILES)


def test_compressed_files_beside_are_used_without_a_network(
    tmp_path: Path, mirror: Mirror, unreachable: str
) -> None:
    mirror.use(replace(mirror.source, mirrors=(unreachable,)))
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / f"{name}.gz").write_bytes((mirror.folder / f"{name}.gz").read_bytes())
    assert len(load_tiny(root=tmp_path).x_train) == 5
    assert files_below(tmp_path) == sorted([*FILES, *(f"{name}.gz" for name in FILES)])


def test_a_damaged_compressed_file_beside_is_left_alone_and_downloaded_anew(
    tmp_path: Path, mirror: Mirror
) -> None:
    folder = write_tiny(tmp_path)
    (folder / TRAIN_FILES[0]).unlink()
    (folder / f"{TRAIN_FILES[0]}.gz").write_bytes(b"damaged")
    assert len(load_tiny(root=tmp_path).x_train) == 5
    assert mirror.requests() == [TRAIN_FILES[0]]
    assert (folder / f"{TRAIN_FILES[0]}.gz").read_bytes() == b"damaged"


KILLED = """
import sys
from pathlib import Path
from erm.data.download import SOURCES, Source, files_of
import json
SOURCES["MNIST"] = Source(**json.loads(sys.argv[2]))
files_of(Path(sys.argv[1]), "MNIST")
"""


def test_a_killed_download_leaves_no_part_of_a_file_and_no_lock(tmp_path: Path, mirror: Mirror) -> None:
    root = tmp_path / "root"
    with serving(mirror.folder, Hanging) as address:
        source = json.dumps({"mirrors": [address], "sha256": dict(mirror.source.sha256)})
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(root), source],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        )
        halfway = threading.Event()
        while not (mirror.folder / "halfway").exists():
            assert process.poll() is None
            halfway.wait(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (root / "MNIST").exists()
    assert len(load_tiny(root=root).x_train) == 5
    assert files_below(root) == sorted(FILES)


def test_a_mirror_that_stops_answering_is_given_up(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SECONDS_WITHOUT_AN_ANSWER", 0.1)
    with serving(mirror.folder, Hanging) as address:
        mirror.use(replace(mirror.source, mirrors=(address,)))
        with pytest.raises(DataUnavailableError, match="timed out"):
            load_tiny(root=tmp_path)
    assert files_below(tmp_path) == []


@pytest.mark.usefixtures("unreachable")
def test_files_that_came_while_waiting_for_the_lock_are_not_downloaded_again(tmp_path: Path) -> None:
    # The only mirror is out of reach, so a download would fail.
    with ThreadPoolExecutor(1) as pool:
        with FileLock(tmp_path / ".MNIST.lock"):
            load = pool.submit(load_tiny, root=tmp_path)
            with pytest.raises(TimeoutError):
                load.result(timeout=0.3)
            write_tiny(tmp_path)
        assert len(load.result().x_train) == 5


@pytest.mark.parametrize("quiet", [False, True])
def test_a_command_says_what_it_downloads(
    tmp_path: Path, mirror: Mirror, capfd: pytest.CaptureFixture[str], quiet: bool
) -> None:
    # One block within another, and still every line once.
    with console.speaking(quiet=quiet, log_json=True), console.speaking(quiet=False, log_json=False):
        load_tiny(root=tmp_path)
    said = capfd.readouterr()
    lines = [json.loads(line)["message"] for line in said.out.splitlines()]
    assert lines == ([] if quiet else [f"downloading {mirror.source.mirrors[0]}{name}.gz" for name in FILES])
    assert said.err == ""
    # The library's own lines, which are no JSON, go to the standard error that it found when it was imported.
    assert not pooch.get_logger().isEnabledFor(logging.INFO)


def test_every_published_file_has_a_checksum_and_a_second_mirror() -> None:
    assert SOURCES.keys() == LOADERS.keys()
    for source in SOURCES.values():
        assert set(source.sha256) == set(FILES)
        assert all(len(bytes.fromhex(digest)) == 32 for digest in source.sha256.values())
        assert len(source.mirrors) > 1
        assert all(mirror.endswith("/") for mirror in source.mirrors)
    assert len({digest for source in SOURCES.values() for digest in source.sha256.values()}) == 8
