"""Training on fewer examples than the source has."""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from erm.dataset import DataError, Dataset

MIN_TRAIN = 2
"""One training example must remain when one is removed."""
NumTrain = Annotated[
    int | None, Field(ge=MIN_TRAIN, description="keep only the first so many training examples")
]


def check_num_train(name: str, available: int, num_train: int | None) -> None:
    """Raise DataError where `num_train` is outside 2 … `available`, the training examples of `name`."""
    if num_train is not None and not MIN_TRAIN <= num_train <= available:
        raise DataError(
            f"{name}: data.num_train must lie in {MIN_TRAIN} … {available}, got {num_train}; "
            "leave it null for all training examples"
        )


def first_training_rows(dataset: Dataset, num_train: int | None) -> Dataset:
    """The data set with its first `num_train` training rows, in order; all of them when None.

    Test examples and the number of classes stay as they are. The rows are copied, so the others are freed.

    Raises:
        DataError: `num_train` is outside 2 … n.
    """
    check_num_train(dataset.name, len(dataset.x_train), num_train)
    if num_train is None:
        return dataset
    return replace(
        dataset,
        x_train=dataset.x_train[:num_train].copy(),
        y_train=dataset.y_train[:num_train].copy(),
    )
