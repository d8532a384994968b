"""One pass over the examples for many models: how their residuals change, summed against the features.

Two products, n × d by d × B(K − 1) and back: no probability sees a part of Δ that is common to all classes,
so the last class is minus the sum of the others.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrain.probability_change import to_probability_change_

ALIGNMENT = 16
"""Rows and columns of a product in multiples of this many numbers: on MNIST, 720 features instead of 715 and
512 models instead of 500 take a fifth off a float32 pass."""
CHUNK_ROWS = 1024
"""Examples a product takes at once: logits of a chunk stay near the cache, and sums over n are blocked."""


def probability_change_sum(
    differences: Float[Tensor, "B K d"],
    data: tuple[Float[Tensor, "n d"], Float[Tensor, "n K"], Float[Tensor, "n K"]],
    kept: Bool[Tensor, "n B"] | None,
) -> Float[Tensor, "B K d"]:
    """Σⱼ xⱼ δpⱼ over the examples here, for the first K − 1 classes by products and the last by difference.

    Args:
        differences: Δ of each model, with no part that is common to all classes.
        data: features, probabilities at θ̂ and their logarithms, in the precision of the products.
        kept: False where a model leaves an example out, and so two products for all models whatever they
            leave out; None where every model sums over all examples.
    """
    x, probabilities, log_probabilities = data
    num_models, num_classes, num_features = differences.shape
    free, num_columns = num_classes - 1, num_models + -num_models % ALIGNMENT
    # Class-major columns, so that sums over classes run along long contiguous rows of models.
    columns = x.new_zeros(free, num_columns, num_features)
    columns[:, :num_models] = differences[:, :free].transpose(0, 1)
    columns = columns.flatten(0, 1)
    summed = torch.zeros_like(columns)
    logits = x.new_empty(min(CHUNK_ROWS, len(x)), len(columns))
    for start in range(0, len(x), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        chunk = torch.mm(x[rows], columns.T, out=logits[: len(x[rows])])
        by_class = chunk.view(-1, free, num_columns)
        to_probability_change_(by_class, probabilities[rows], log_probabilities[rows])
        if kept is not None:
            by_class[:, :, :num_models].mul_(kept[rows, None])
        summed.addmm_(chunk.T, x[rows])
    by_model = summed.view(free, num_columns, -1)[:, :num_models].transpose(0, 1).to(differences.dtype)
    return torch.cat([by_model, -by_model.sum(1, keepdim=True)], dim=1)
