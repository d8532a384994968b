"""Loaders give exactly the bytes of their source, in order, and refuse what is not whole."""

import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from erm.data import torchvision_download
from erm.data.digits import load_digits
from erm.data.errors import DataUnavailableError
from erm.data.npz import load_npz
from erm.data.torchvision_download import TEST_FILES, TRAIN_FILES
from erm.data.torchvision_images import load_fashion_mnist, load_mnist
from erm.data.torchvision_operators import declare_missing_operators
from erm.dataset import DataError, Dataset

FILES = (*TRAIN_FILES, *TEST_FILES)
LOADERS = {"MNIST": load_mnist, "FashionMNIST": load_fashion_mnist}


# Importing torchvision beside any torch


DECLARE = "from erm.data.torchvision_operators import declare_missing_operators as declare\ndeclare()\n"


def run_python(script: str, search_path: Path | None = None) -> list[str]:
    """Lines that the script prints; `search_path` comes before every installed package."""
    folders = [str(search_path)] if search_path else []
    folders += filter(None, [os.environ.get("PYTHONPATH")])
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_declaring_the_operators_is_what_makes_torchvision_importable() -> None:
    attempt = "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\n"
    # Twice, because each loader declares before its own import.
    *failure, success = run_python(
        attempt + DECLARE + "declare()\nfrom torchvision.datasets import MNIST\nprint(MNIST.__name__)"
    )
    assert success == "MNIST"
    if not failure:
        pytest.skip("torchvision here can be imported as it is, so the fault cannot be shown")
    assert failure == ["operator torchvision::nms does not exist"]


def write_stand_in(root: Path, source: str) -> None:
    """A package named torchvision, with an empty submodule `extension`, that runs the given source."""
    package = root / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    (package / "extension.py").touch()


def test_a_healthy_torchvision_keeps_its_own_operators(tmp_path: Path) -> None:
    # Defining a name that exists already raises, as it would when a compiled extension is loaded.
    write_stand_in(
        tmp_path,
        "import torch\n"
        "torch.library.define('torchvision::nms', '(Tensor x) -> Tensor')\n"
        "torch.library.impl('torchvision::nms', 'cpu', lambda x: x + 1)\n",
    )
    script = DECLARE + (
        "import torch, torchvision\n"
        "print(torch.ops.torchvision.nms(torch.ones(1)).item(), hasattr(torch.ops.torchvision, 'qnms'))"
    )
    assert run_python(script, tmp_path) == ["2.0 False"]


def test_the_failed_import_leaves_nothing_behind_that_breaks_the_next(tmp_path: Path) -> None:
    # As torchvision 0.21 does it: the submodule is imported by name and then reached through the package.
    write_stand_in(
        tmp_path,
        "from .extension import __name__ as _\n"
        "import torch, torchvision.extension\n"
        "torchvision.extension.__name__\n"
        "torch.library.register_fake('torchvision::nms', lambda dets, scores, iou_threshold: dets)\n"
        "torch.library.register_fake('torchvision::qnms', lambda dets, scores, iou_threshold: dets)\n",
    )
    script = DECLARE + "import torchvision\nprint(torchvision.extension.__name__)"
    assert run_python(script, tmp_path) == ["torchvision.extension"]


def test_another_fault_of_torchvision_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stand_in(tmp_path, "raise RuntimeError('different CUDA major versions')")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(RuntimeError, match="different CUDA major versions"):
        declare_missing_operators()


# MNIST and Fashion-MNIST from small synthetic files


def idx_bytes(array: np.ndarray, magic: int | None = None) -> bytes:
    header = [0x0800 + array.ndim if magic is None else magic, *array.shape]
    return np.array(header, dtype=">u4").tobytes() + array.astype(np.uint8).tobytes()


def tiny_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Seven training and three test images of random pixels that include 0 and 255."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for (images, labels), count in ((TRAIN_FILES, 7), (TEST_FILES, 3)):
        arrays[images] = rng.integers(0, 256, (count, 28, 28))
        arrays[images][0, 0, :2] = 0, 255
        arrays[labels] = rng.permutation(10)[:count]
    return arrays


def write_tiny(root: Path, class_name: str = "MNIST", seed: int = 0) -> Path:
    folder = root / class_name / "raw"
    folder.mkdir(parents=True)
    for name, array in tiny_arrays(seed).items():
        (folder / name).write_bytes(idx_bytes(array))
    return folder


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Modification time, change time and content of everything: any write, even one undone, changes it."""

    def state(path: Path) -> tuple[int, int, bytes]:
        content = path.read_bytes() if path.is_file() else b""
        return path.stat().st_mtime_ns, path.stat().st_ctime_ns, content

    return {str(path): state(path) for path in (root, *root.rglob("*"))}


@pytest.mark.parametrize(("class_name", "name"), [("MNIST", "mnist"), ("FashionMNIST", "fashion_mnist")])
def test_training_row_i_is_the_file_row_after_the_validation_rows(
    tmp_path: Path, class_name: str, name: str
) -> None:
    # The other data set's files lie beside it, so a loader that reads the wrong folder fails.
    for seed, folder_name in enumerate(LOADERS):
        write_tiny(tmp_path, folder_name, seed)
    arrays = tiny_arrays(seed=list(LOADERS).index(class_name))
    data = LOADERS[class_name](root=str(tmp_path), num_validation=2)

    assert (data.name, data.num_classes, data.image_shape) == (name, 10, (28, 28))
    # Exact: one correctly rounded division has only one result.
    np.testing.assert_array_equal(data.x_train, arrays[TRAIN_FILES[0]][2:].reshape(5, 784) / 255)
    np.testing.assert_array_equal(data.x_test, arrays[TEST_FILES[0]].reshape(3, 784) / 255)
    np.testing.assert_array_equal(data.y_train, arrays[TRAIN_FILES[1]][2:])
    np.testing.assert_array_equal(data.y_test, arrays[TEST_FILES[1]])
    assert {data.x_train.dtype, data.x_test.dtype} == {np.dtype(np.float64)}
    assert {data.y_train.dtype, data.y_test.dtype} == {np.dtype(np.int64)}
    assert (data.x_train.min(), data.x_test.max()) == (0.0, 1.0)


def test_reading_present_files_writes_nothing(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    before = snapshot(tmp_path)
    load_mnist(root=tmp_path, num_validation=2)
    assert snapshot(tmp_path) == before


def test_unchecked_files_of_an_old_torchvision_are_not_preferred(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    processed = tmp_path / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        (processed / name).write_bytes(b"not a checked IDX file")
    assert len(load_mnist(root=tmp_path, num_validation=2).x_train) == 5


CORRUPTIONS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "one byte short": (lambda whole: whole[:-1], "bytes, expected"),
    "one byte long": (lambda whole: whole + b"\0", "bytes, expected"),
    "cut in the header": (lambda whole: whole[:7], "has 7 bytes, expected at least"),
    "empty": (lambda _: b"", "has 0 bytes, expected at least"),
    "little-endian magic": (lambda whole: whole[3::-1] + whole[4:], "expected 0x0000080"),
    "still compressed": (gzip.compress, "0x1f8b08"),
    "no rows": (lambda whole: whole[:4] + bytes(4) + whole[8 : 4 * (1 + whole[3])], "at least 1"),
}


@pytest.mark.parametrize("file_name", FILES)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_a_corrupt_file_is_named_and_left_alone(tmp_path: Path, file_name: str, corruption: str) -> None:
    damage, expected = CORRUPTIONS[corruption]
    path = write_tiny(tmp_path) / file_name
    path.write_bytes(damage(path.read_bytes()))
    before = snapshot(tmp_path)
    with pytest.raises(DataError) as caught:
        load_mnist(root=tmp_path, num_validation=2)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("file_name", "array", "expected"),
    [
        (TRAIN_FILES[1], np.zeros(6), "holds 6 labels, expected 7"),
        (TEST_FILES[0], np.zeros((4, 28, 28)), "holds 3 labels, expected 4"),
        (TRAIN_FILES[0], np.zeros((7, 28, 27)), "28 × 27 pixels, expected 28 × 28"),
        (TEST_FILES[1], np.array([9, 0, 10]), "label 10 in row 2, expected 0 … 9"),
        (TEST_FILES[1], np.zeros((3, 1)), "0x00000802, expected 0x00000801"),
    ],
)
def test_files_that_are_whole_but_disagree_are_refused(
    tmp_path: Path, file_name: str, array: np.ndarray, expected: str
) -> None:
    folder = write_tiny(tmp_path)
    (folder / file_name).write_bytes(idx_bytes(array))
    with pytest.raises(DataError, match=expected) as caught:
        load_mnist(root=tmp_path, num_validation=2)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("num_validation", [-1, 6])
def test_validation_leaves_two_training_images(tmp_path: Path, num_validation: int) -> None:
    write_tiny(tmp_path)
    assert len(load_mnist(root=tmp_path, num_validation=5).x_train) == 2
    with pytest.raises(DataError, match=rf"num_validation must lie in 0 … 5, got {num_validation}"):
        load_mnist(root=tmp_path, num_validation=num_validation)


# Downloads, from a server of this test on this machine


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


# The real MNIST


@pytest.fixture(scope="module")
def mnist_root() -> Path:
    root = os.environ.get("REPRO_DATA_ROOT")
    if root is None:
        pytest.skip("REPRO_DATA_ROOT is not set, so there is no MNIST to read")
    if not all((Path(root) / "MNIST" / "raw" / name).is_file() for name in FILES):
        pytest.skip(f"REPRO_DATA_ROOT={root} has no MNIST/raw with the four files")
    return Path(root)


def test_mnist_is_split_as_the_paper_splits_it(mnist_root: Path) -> None:
    data = load_mnist(root=mnist_root)
    assert (data.x_train.shape, data.x_test.shape) == ((55_000, 784), (10_000, 784))
    pixels = np.fromfile(mnist_root / "MNIST" / "raw" / TRAIN_FILES[0], dtype=np.uint8, offset=16)
    # Exact: rint undoes a division by 255 that is right to half a unit in the last place.
    np.testing.assert_array_equal(np.rint(data.x_train[[0, -1]] * 255), pixels.reshape(-1, 784)[[5000, -1]])
    # Published facts: 715 pixels are ever set in these 55,000, and test image 8 is a five.
    assert np.count_nonzero(data.x_train.any(axis=0)) == 715
    assert data.y_test[8] == 5
    np.testing.assert_array_equal(
        np.bincount(data.y_test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


# scikit-learn's digits


def test_digits_are_all_of_the_source_in_order() -> None:
    data = load_digits()
    source = sklearn_datasets.load_digits()
    assert (data.name, data.num_classes, data.image_shape) == ("digits", 10, (8, 8))
    assert (data.x_train.shape, data.x_test.shape) == ((1500, 64), (297, 64))
    # Exact: 16 is a power of two.
    np.testing.assert_array_equal(np.concatenate([data.x_train, data.x_test]) * 16, source.data)
    np.testing.assert_array_equal(np.concatenate([data.y_train, data.y_test]), source.target)
    assert (data.x_train.dtype, data.y_train.dtype) == (np.dtype(np.float64), np.dtype(np.int64))


# A user's .npz file


def npz_arrays(**changes: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    arrays = {
        "x_train": rng.normal(size=(5, 12)),
        "y_train": np.array([0, 1, 2, 1, 0]),
        "x_test": rng.normal(size=(3, 12)),
        "y_test": np.array([3, 0, 1]),
    }
    return {**arrays, **changes}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(arrays: dict[str, Any]) -> Path:
        path = tmp_path / "my digits.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


Save = Callable[[dict[str, Any]], Path]


def test_npz_arrays_arrive_unscaled_and_classes_count_both_parts(save: Save) -> None:
    arrays = npz_arrays()
    data = load_npz(path=str(save(arrays)))
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(data, name), array)
    # Class 3 occurs in the test part alone.
    assert (data.name, data.num_classes, data.image_shape) == ("my digits", 4, None)


@pytest.mark.parametrize("dtype", ["f2", "f4", "longdouble", "u1", ">i4", "u8", "?"])
def test_npz_images_of_any_real_dtype_are_flattened_row_by_row(save: Save, dtype: str) -> None:
    x_train, x_test = np.arange(60).reshape(5, 3, 4).astype(dtype), np.ones((3, 3, 4), dtype)
    data = load_npz(path=save(npz_arrays(x_train=x_train, x_test=x_test)))
    assert data.image_shape == (3, 4)
    assert data.x_train.dtype == data.x_test.dtype == np.float64
    np.testing.assert_array_equal(data.x_train, x_train.reshape(5, 12))


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i8", "u8", "f4", "f8"])
def test_npz_labels_of_any_dtype_are_taken_when_they_are_whole(save: Save, dtype: str) -> None:
    labels = np.array([4, 1, 2, 1, 0], dtype)
    data = load_npz(path=save(npz_arrays(y_train=labels)))
    assert (data.y_train.dtype, data.num_classes) == (np.dtype(np.int64), 5)
    np.testing.assert_array_equal(data.y_train, labels)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("x_train", np.zeros(5), "expected (n, features) or (n, height, width)"),
        ("x_train", np.zeros((5, 1, 3, 4)), "expected (n, features) or (n, height, width)"),
        ("x_test", np.zeros((0, 12)), "none of them 0"),
        ("x_test", np.zeros((3, 0)), "none of them 0"),
        ("x_train", np.zeros((5, 12), complex), "convert it to real numbers"),
        ("x_test", np.full((3, 12), "1.0"), "convert it to real numbers"),
        ("x_test", np.full((3, 12), None), "write it again with numpy.savez as an array of numbers"),
        ("x_test", np.zeros((3, 11)), "make them equal"),
        ("x_test", np.zeros((3, 3, 4)), "make them equal"),
        ("x_train", np.full((5, 12), np.nan), "remove or impute"),
        ("x_test", np.full((3, 12), np.inf), "remove or impute"),
        ("y_train", np.array([0, 1, 2, -1, 0]), "label -1 in row 3; labels must be whole numbers"),
        ("y_train", np.array([0, 1.5, 2, 1, 0]), "label 1.5 in row 1"),
        ("y_test", np.array([0, 1, np.nan]), "label nan in row 2"),
        ("y_test", np.array([0, 1e30, 1]), "label 1e+30 in row 1"),
        ("y_test", np.array([0, 1, 2**63 + 1], np.uint64), "label 9223372036854775809 in row 2"),
        ("y_test", np.array(["a", "b", "c"]), "convert it to integers"),
        ("y_test", np.array([0, 1, None]), "write it again with numpy.savez as an array of numbers"),
        ("y_test", np.zeros((3, 1), int), "one label for each example"),
        ("y_test", np.zeros(0, int), "one label for each example"),
        ("y_train", np.zeros(6, int), "x_train has 5 examples and y_train 6 labels"),
    ],
)
def test_an_unusable_npz_array_is_named_with_its_remedy(
    save: Save, name: str, array: np.ndarray, expected: str
) -> None:
    path = save(npz_arrays(**{name: array}))
    # Keeping fewer examples hides no fault in the rows that are cut off.
    for num_train in (None, 2):
        with pytest.raises(DataError) as caught:
            load_npz(path=path, num_train=num_train)
        for part in (str(path), name, expected):
            assert part in str(caught.value)


def test_a_missing_npz_array_is_named_beside_those_that_are_there(save: Save) -> None:
    path = save({name: array for name, array in npz_arrays().items() if name != "y_test"})
    with pytest.raises(DataError, match="lacks y_test; it holds x_train, y_train, x_test") as caught:
        load_npz(path=path)
    assert str(path) in str(caught.value)


def test_a_missing_npz_file_is_reported_with_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("nothing.npz", "."):
        with pytest.raises(DataError, match=r"is not a file; .* data\.path=") as caught:
            load_npz(path=path)
        assert str(tmp_path) in str(caught.value)


def test_bytes_that_are_no_whole_npz_file_are_refused(save: Save) -> None:
    path = save(npz_arrays())
    whole = path.read_bytes()
    in_an_array = bytearray(whole)
    in_an_array[len(whole) // 4] ^= 0xFF
    truncated = (b"", whole[:60], whole[: len(whole) // 2], whole[:-1])
    for content in (*truncated, b"x_train,y_train\n", bytes(in_an_array)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"write it again with numpy\.savez") as caught:
            load_npz(path=path)
        assert str(path) in str(caught.value)
    with path.open("wb") as file:
        np.save(file, np.zeros((5, 12)))
    with pytest.raises(DataError, match="it holds a single array"):
        load_npz(path=path)


# Fewer training examples


@pytest.fixture(params=["mnist", "digits", "npz"])
def loader(request: pytest.FixtureRequest, tmp_path: Path, save: Save) -> Callable[..., Dataset]:
    if request.param == "mnist":
        write_tiny(tmp_path)
        return partial(load_mnist, root=tmp_path, num_validation=2)
    if request.param == "npz":
        return partial(load_npz, path=save(npz_arrays(y_train=np.array([0, 1, 2, 1, 9]))))
    return load_digits


def test_fewer_training_examples_are_the_first_ones_and_nothing_else_changes(
    loader: Callable[..., Dataset],
) -> None:
    everything = loader()
    available = len(everything.x_train)
    for num_train in (2, 3, available):
        data = loader(num_train=num_train)
        np.testing.assert_array_equal(data.x_train, everything.x_train[:num_train])
        np.testing.assert_array_equal(data.y_train, everything.y_train[:num_train])
        np.testing.assert_array_equal(data.x_test, everything.x_test)
        np.testing.assert_array_equal(data.y_test, everything.y_test)
        assert (data.num_classes, data.name) == (everything.num_classes, everything.name)
    # The rows cut off are freed: a view would keep them.
    assert loader(num_train=2).x_train.base is None


def test_too_few_or_too_many_training_examples_are_refused_with_the_range(
    loader: Callable[..., Dataset],
) -> None:
    available = len(loader().x_train)
    for num_train in (-1, 0, 1, available + 1):
        with pytest.raises(DataError, match=rf"num_train must lie in 2 … {available}, got {num_train};"):
            loader(num_train=num_train)
