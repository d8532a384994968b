"""scikit-learn's bundled digits: 1,797 real handwritten digits of 8 × 8 pixels, without any download."""

import numpy as np
from sklearn import datasets

from erm.data.truncation import NumTrain, first_training_rows
from erm.dataset import Dataset

NUM_TRAIN = 1500
MAX_PIXEL = 16
"""A pixel counts the set pixels of a 4 × 4 block of the original scan: 0 … 16."""


def load_digits(*, num_train: NumTrain = None) -> Dataset:
    """The first 1,500 images train, the other 297 test; pixels / 16, no centring, 64 features, 10 classes.

    The source is the test part of UCI's "Optical Recognition of Handwritten Digits", in file order.

    Args:
        num_train: keep the first so many of the 1,500; all when None.

    Raises:
        DataError: `num_train` is outside 2 … 1,500.
    """
    pixels, labels = datasets.load_digits(return_X_y=True)
    x = np.divide(pixels, MAX_PIXEL, dtype=np.float64)
    y = np.asarray(labels, dtype=np.int64)
    dataset = Dataset(
        name="digits",
        x_train=x[:NUM_TRAIN],
        y_train=y[:NUM_TRAIN],
        x_test=x[NUM_TRAIN:],
        y_test=y[NUM_TRAIN:],
        num_classes=10,
        image_shape=(8, 8),
    )
    return first_training_rows(dataset, num_train)
