"""Groups of examples that are alike: clusters of their features, and of the gradients of their losses."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from retrain.removal import Removal

CENTRES = (4, 8, 16, 32, 64, 128)
GradientFactors = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n K"]]
SKETCHED = 256
"""Numbers that a gradient of more parameters is projected on. Its distances are then right to about
√(2/SKETCHED), 9 %, and 55,000 gradients of 7,840 parameters need no 3.4 GB."""
EXACT_PARAMETERS = 1024
"""Gradients of so many parameters are clustered as they are."""
CHUNK_ROWS = 4096
SAMPLED, MOST_LEAVES = 10_000, 2_000
"""k-means finds its centres among so many rows, drawn by the seed, and hierarchical clustering, which takes
n² numbers, its clusters among so many; all others then join the nearest."""


def clusters(features: Float[np.ndarray, "n features"], seed: int) -> Iterator[Removal]:
    """The clusters of k-means and of Ward's hierarchical clustering, of each number of `CENTRES`.

    Args:
        seed: of k-means, and of the samples that stand for more rows.
    """
    # Imported here, since they take longer to import than most commands run.
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin

    numbers = [count for count in CENTRES if count < len(features)]
    sample = features[_sampled(len(features), SAMPLED, seed)]
    for count in numbers:
        yield from _parts(KMeans(count, n_init=1, random_state=seed % 2**32).fit(sample).predict(features))
    leaves = features[_sampled(len(features), MOST_LEAVES, seed)]
    tree = linkage(leaves, method="ward")
    for count in numbers:
        cluster_of = fcluster(tree, count, criterion="maxclust")
        if len(leaves) < len(features):
            centres = [leaves[cluster_of == cluster].mean(axis=0) for cluster in np.unique(cluster_of)]
            cluster_of = pairwise_distances_argmin(features, np.stack(centres))
        yield from _parts(cluster_of)


def _sampled(num_rows: int, most: int, seed: int) -> Int[np.ndarray, " m"]:
    """All rows, or so many of them, ascending."""
    if num_rows <= most:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng(seed).choice(num_rows, size=most, replace=False))


def gradients(factors: GradientFactors, seed: int) -> Float[np.ndarray, "n q"]:
    """The gradients (p − y) ⊗ x of all examples, or a random projection of them.

    Args:
        factors: x and p − y.
        seed: of the projection: independent normal numbers of variance 1/q, which keeps the mean of every
            squared distance (Johnson and Lindenstrauss).
    """
    x, residuals = factors
    num_features, num_classes = x.shape[1], residuals.shape[1]
    if num_features * num_classes <= EXACT_PARAMETERS:
        return (residuals[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    shape = (num_classes, num_features, SKETCHED)
    projection = np.random.default_rng(seed).standard_normal(shape) / SKETCHED**0.5
    found = np.zeros((len(x), SKETCHED))
    for start in range(0, len(x), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        for weights, directions in zip(residuals.T, projection, strict=True):
            found[rows] += (x[rows] * weights[rows, None]) @ directions
    return found


def _parts(cluster_of: Int[np.ndarray, " n"]) -> Iterator[Removal]:
    for cluster in np.unique(cluster_of):
        yield tuple(np.flatnonzero(cluster_of == cluster).tolist())
