"""MNIST and Fashion-MNIST as in Koh & Liang (ICML 2017): 55,000 training and 10,000 test images.

The paper's code sets the first 5,000 training images aside for validation and uses them nowhere in Figure 2;
here they are dropped, so that training index i means file row 5,000 + i, as it does there.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from pydantic import Field

from erm.data.download import TEST_FILES, TRAIN_FILES, files_of
from erm.data.idx import REMEDY, read_idx_files
from erm.data.truncation import MIN_TRAIN, NumTrain, check_num_train
from erm.dataset import DataError, Dataset
from erm.paths import expanded

IMAGE_SHAPE = (28, 28)
NUM_CLASSES = 10
MAX_PIXEL = 255
SMALL_SEED = 0
"""Of the permutation that the paper's third panel takes its images from."""
Root = Annotated[str | Path, Field(description="folder that holds, or receives, the files")]
NumValidation = Annotated[int, Field(ge=0, description="leading train images that are left out")]


def load_mnist(*, root: Root, num_train: NumTrain = None, num_validation: NumValidation = 5000) -> Dataset:
    """MNIST (LeCun, Cortes & Burges): pixels / 255, no centring, 784 features, 10 classes.

    Args:
        root: folder that holds MNIST/raw with the four decompressed files; missing ones are downloaded.
        num_train: keep the first so many of the training images that validation leaves; all when None.
        num_validation: the first so many images of the training file are dropped.

    Raises:
        DataUnavailableError: a file is missing and cannot be downloaded.
        DataError: a file is corrupt, or `num_train` or `num_validation` is out of range.
    """
    return _load("mnist", "MNIST", root, num_train, num_validation)


def load_mnist_small(
    *, root: Root, num_train: NumTrain = 5500, num_validation: NumValidation = 5000
) -> Dataset:
    """The MNIST of the paper's third panel: the first tenth of a permutation (its `load_small_mnist`).

    Training row i is row permutation[i] of `load_mnist`; test images keep their places.

    Args:
        num_train: keep the first so many of the permuted training images; all when None.

    Raises:
        DataUnavailableError, DataError: as `load_mnist`.
    """
    return _load("mnist_small", "MNIST", root, num_train, num_validation, SMALL_SEED)


def load_fashion_mnist(
    *, root: Root, num_train: NumTrain = None, num_validation: NumValidation = 5000
) -> Dataset:
    """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), in <root>/FashionMNIST/raw; otherwise as `load_mnist`."""
    return _load("fashion_mnist", "FashionMNIST", root, num_train, num_validation)


def _load(
    name: str,
    folder_name: str,
    root: str | Path,
    num_train: int | None,
    num_validation: int,
    seed: int | None = None,
) -> Dataset:
    folder = files_of(expanded(root).absolute(), folder_name)
    train_images, train_labels = _read(folder, TRAIN_FILES)
    test_images, test_labels = _read(folder, TEST_FILES)
    most = len(train_images) - MIN_TRAIN
    if not 0 <= num_validation <= most:
        raise DataError(f"{name}: data.num_validation must lie in 0 … {most}, got {num_validation}")
    available = len(train_images) - num_validation
    check_num_train(name, available, num_train)
    # Cut before they become float64, which takes eight times the memory.
    rows: slice | Int64[np.ndarray, " n"] = slice(num_validation, num_validation + (num_train or available))
    if seed is not None:
        rows = num_validation + np.random.RandomState(seed).permutation(available)[:num_train]
    return Dataset(
        name=name,
        x_train=_scaled(train_images[rows]),
        y_train=train_labels[rows],
        x_test=_scaled(test_images),
        y_test=test_labels,
        num_classes=NUM_CLASSES,
        image_shape=IMAGE_SHAPE,
    )


def _scaled(images: UInt8[np.ndarray, "n features"]) -> Float64[np.ndarray, "n features"]:
    """Pixels / 255, by torch: its threads share the new memory out, and numpy takes five times as long."""
    scaled: np.ndarray = torch.from_numpy(images).to(torch.float64).div_(MAX_PIXEL).numpy()
    return scaled


def _read(
    folder: Path, file_names: tuple[str, str]
) -> tuple[UInt8[np.ndarray, "n features"], Int64[np.ndarray, " n"]]:
    """Pixels 0 … 255, one flattened image per row, and labels below the number of classes."""
    image_file, label_file = (folder / file_name for file_name in file_names)
    images, labels = read_idx_files(image_file, label_file, IMAGE_SHAPE)
    wrong = np.flatnonzero(labels >= NUM_CLASSES)
    if len(wrong):
        raise DataError(
            f"{label_file} has the label {labels[wrong[0]]} in row {wrong[0]}, "
            f"expected 0 … {NUM_CLASSES - 1}; {REMEDY}"
        )
    return images, labels
