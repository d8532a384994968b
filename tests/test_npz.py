"""A user's arrays arrive as they are, or the message names the array and the remedy."""

from pathlib import Path

import numpy as np
import pytest

from erm.data.npz import load_npz
from erm.dataset import DataError
from tests.npz_files import Save, npz_arrays


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
