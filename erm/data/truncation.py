"""Training on fewer examples than the source has."""

from dataclasses import replace

from erm.dataset import DataError, Dataset

MIN_TRAIN = 2
"""One training example must remain when one is removed."""


def first_training_rows(dataset: Dataset, num_train: int | None) -> Dataset:
    """The data set with its first `num_train` training rows, in order; all of them when None.

    Test examples and the number of classes stay as they are. The rows are copied, so the others are freed.

    Raises:
        DataError: `num_train` is outside 2 … n.
    """
    if num_train is None:
        return dataset
    available = len(dataset.x_train)
    if not MIN_TRAIN <= num_train <= available:
        raise DataError(
            f"{dataset.name}: data.num_train must lie in {MIN_TRAIN} … {available}, got {num_train}; "
            "leave it null for all training examples"
        )
    return replace(
        dataset,
        x_train=dataset.x_train[:num_train].copy(),
        y_train=dataset.y_train[:num_train].copy(),
    )
