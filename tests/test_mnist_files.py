"""MNIST files are read byte for byte, in order; what is not whole is named and refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from erm.data.download import TEST_FILES, TRAIN_FILES
from erm.data.mnist import load_mnist, load_mnist_small
from erm.dataset import DataError
from tests.idx_files import FILES, LOADERS, idx_bytes, snapshot, tiny_arrays, write_tiny


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


def test_the_small_set_is_the_head_of_numpys_permutation(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    whole, small = (
        load(root=tmp_path, num_validation=2, num_train=count)
        for load, count in ((load_mnist, None), (load_mnist_small, 3))
    )
    order = np.arange(5)
    np.random.RandomState(0).shuffle(order)
    np.testing.assert_array_equal(small.x_train, whole.x_train[order[:3]])
    np.testing.assert_array_equal(small.y_train, whole.y_train[order[:3]])
    np.testing.assert_array_equal(small.x_test, whole.x_test)
    assert order[:3].tolist() != [0, 1, 2]
    with pytest.raises(DataError, match="2 … 5"):
        load_mnist_small(root=tmp_path, num_validation=2)


def test_reading_present_files_writes_nothing(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    before = snapshot(tmp_path)
    load_mnist(root=tmp_path, num_validation=2)
    assert snapshot(tmp_path) == before


def test_unchecked_pt_files_of_other_tools_are_not_preferred(tmp_path: Path) -> None:
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
