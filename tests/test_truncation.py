"""Every data set can be cut to its first training examples."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import datasets as sklearn_datasets

from erm.data.digits import load_digits
from erm.data.mnist import load_mnist
from erm.data.npz import load_npz
from erm.dataset import DataError, Dataset
from tests.idx_files import write_tiny
from tests.npz_files import Save, npz_arrays

PROJECT = Path(__file__).parent.parent


def test_digits_are_all_of_the_source_in_order() -> None:
    data = load_digits()
    source = sklearn_datasets.load_digits()
    assert (data.name, data.num_classes, data.image_shape) == ("digits", 10, (8, 8))
    assert (data.x_train.shape, data.x_test.shape) == ((1500, 64), (297, 64))
    # Exact: 16 is a power of two.
    np.testing.assert_array_equal(np.concatenate([data.x_train, data.x_test]) * 16, source.data)
    np.testing.assert_array_equal(np.concatenate([data.y_train, data.y_test]), source.target)
    assert (data.x_train.dtype, data.y_train.dtype) == (np.dtype(np.float64), np.dtype(np.int64))


def test_neither_digits_nor_the_stages_import_what_they_do_not_use() -> None:
    """scikit-learn and scipy's optimisers take longer to import than digits to fit."""
    code = (
        "import sys, repro.stages.run; from erm.data.digits import load_digits; load_digits(); "
        "slow = ('sklearn', 'scipy.stats', 'scipy.optimize', 'scipy.sparse'); "
        "print([name for name in slow if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    assert ended.stdout == "[]\n"


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
    x_train = loader(num_train=2).x_train
    assert bytes_behind(x_train) == x_train.nbytes


def bytes_behind(array: np.ndarray) -> int:
    """Of the memory that an array keeps, be it its own, another array's or a tensor's."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    base = array.base
    return base.untyped_storage().nbytes() if isinstance(base, torch.Tensor) else array.nbytes


def test_too_few_or_too_many_training_examples_are_refused_with_the_range(
    loader: Callable[..., Dataset],
) -> None:
    available = len(loader().x_train)
    for num_train in (-1, 0, 1, available + 1):
        with pytest.raises(DataError, match=rf"num_train must lie in 2 … {available}, got {num_train};"):
            loader(num_train=num_train)
