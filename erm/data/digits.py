"""scikit-learn's bundled digits: 1,797 real handwritten digits of 8 × 8 pixels, without any download."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float

from erm.data.truncation import NumTrain, first_training_rows
from erm.dataset import Dataset

NUM_TRAIN = 1500
MAX_PIXEL = 16
"""A pixel counts the set pixels of a 4 × 4 block of the original scan: 0 … 16."""


def load_digits(*, num_train: NumTrain = None) -> Dataset:
    """The first 1,500 images train, the other 297 test; pixels / 16, no centring, 64 features, 10 classes.

    The source is the test part of UCI's "Optical Recognition of Handwritten Digits", in file order.

    Raises:
        DataError: `num_train` is outside 2 … 1,500.
    """
    rows = _read()
    x, y = rows[:, :-1] / MAX_PIXEL, rows[:, -1].astype(np.int64)
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


@functools.cache
def _read() -> Float[np.ndarray, "1797 65"]:
    """Pixels and the label of each image, from the file that scikit-learn has them in.

    Its own function would import all of scikit-learn, which takes longer than the fit. Read once: a sweep
    asks for it again, and so does every `Experiment` of a process.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for file in (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders):
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    return np.column_stack([pixels, labels])
