"""A data set of one's own: the Wisconsin breast cancer data that scikit-learn brings along."""

import numpy as np
from sklearn.datasets import load_breast_cancer

from erm.dataset import Dataset


def load_cancer(*, num_test: int, seed: int) -> Dataset:
    """569 tumours, 30 features, classes 0 (malignant) and 1 (benign).

    Every feature is shifted and scaled to mean 0 and standard deviation 1 over the training examples.

    Args:
        num_test: examples that test; the others train.
        seed: of which.
    """
    features, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[num_test:], order[:num_test]
    mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
    scaled = (features - mean) / deviation
    return Dataset(
        name="cancer",
        x_train=scaled[train],
        y_train=labels[train],
        x_test=scaled[test],
        y_test=labels[test],
        num_classes=2,
    )
