"""Missing files are downloaded once, checked, and never replace what is there."""

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from erm.data import torchvision_download
from erm.data.errors import DataUnavailableError
from erm.data.torchvision_download import TEST_FILES, TRAIN_FILES
from erm.data.torchvision_images import load_mnist
from erm.data.torchvision_operators import declare_missing_operators
from erm.dataset import DataError
from tests.idx_files import FILES, idx_bytes, tiny_arrays, write_tiny


@pytest.fixture
def torchvision_mnist(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's class, which finds no server at its only mirror."""
    declare_missing_operators()
    from torchvision.datasets import MNIST

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return MNIST


class MirrorHandler(SimpleHTTPRequestHandler):
    """Serves a folder and notes in it which paths were asked for, instead of logging them."""

    def log_message(self, format: str, *args: object) -> None:
        with Path(self.directory, "requests").open("a") as file:
            file.write(f"{self.path}\n")


@pytest.fixture
def mirror(
    tmp_path_factory: pytest.TempPathFactory, torchvision_mnist: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Serves the tiny files, compressed, and makes torchvision expect their checksums."""
    folder = tmp_path_factory.mktemp("mirror")
    resources = []
    for name, array in tiny_arrays().items():
        compressed = gzip.compress(idx_bytes(array))
        (folder / f"{name}.gz").write_bytes(compressed)
        resources.append((f"{name}.gz", hashlib.md5(compressed).hexdigest()))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(MirrorHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(torchvision_mnist, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(torchvision_mnist, "resources", resources)
        yield folder
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("torchvision_mnist")
def test_without_files_and_network_the_message_says_where_they_belong(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    (folder / TEST_FILES[1]).unlink()
    with pytest.raises(DataUnavailableError) as caught:
        load_mnist(root=tmp_path)
    for part in (*FILES, str(folder), "REPRO_DATA_ROOT", "data.root=", "data=digits"):
        assert part in str(caught.value)
    assert f"where {TEST_FILES[1]} cannot be found" in str(caught.value)


@pytest.mark.usefixtures("torchvision_mnist")
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
    data = load_mnist(root=tmp_path / "new", num_validation=2)
    write_tiny(tmp_path / "written")
    assert data.checksum == load_mnist(root=tmp_path / "written", num_validation=2).checksum
    visible = [path for path in (tmp_path / "new").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert sorted(path.name for path in visible) == sorted(FILES)


def test_loaders_that_start_together_download_once(tmp_path: Path, mirror: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load_mnist, root=tmp_path, num_validation=2) for _ in range(4)]
        assert len({load.result().checksum for load in loads}) == 1
    requests = (mirror / "requests").read_text().split()
    # torchvision asks twice for each file: where it is, and for its bytes.
    assert sorted(requests) == sorted(2 * [f"/{name}.gz" for name in FILES])


@pytest.mark.usefixtures("mirror")
def test_a_download_fills_in_what_is_missing_and_replaces_nothing(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    (folder / TRAIN_FILES[0]).write_bytes(b"corrupt")
    (folder / TEST_FILES[0]).unlink()
    with pytest.raises(DataError, match="has 7 bytes") as caught:
        load_mnist(root=tmp_path, num_validation=2)
    assert str(folder / TRAIN_FILES[0]) in str(caught.value)
    assert (folder / TRAIN_FILES[0]).read_bytes() == b"corrupt"


def test_a_download_with_another_checksum_is_refused_and_not_kept(tmp_path: Path, mirror: Path) -> None:
    with (mirror / f"{TEST_FILES[0]}.gz").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataUnavailableError, match="corrupted"):
        load_mnist(root=tmp_path, num_validation=2)
    assert not list(tmp_path.rglob("*ubyte*"))


@pytest.mark.usefixtures("torchvision_mnist")
def test_files_that_came_while_waiting_for_the_lock_are_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def held_by_another_download(_: Path) -> Iterator[None]:
        write_tiny(tmp_path)
        yield

    monkeypatch.setattr(torchvision_download, "FileLock", held_by_another_download)
    # The only mirror is out of reach, so a download would fail.
    assert len(load_mnist(root=tmp_path, num_validation=2).x_train) == 5
