"""One pass over the examples for many models: how their residuals change, summed against the features.

Two products, n × d by d × B(K − 1) and back: no probability sees a part of Δ that is common to all classes,
so the last class is minus the sum of the others. Features that are zero in a chunk of examples are left out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erm.pass_order import ALIGNMENT, CHUNK_ROWS, PassOrder
from retrain.probability_change import to_probability_change_


@dataclass(frozen=True, kw_only=True)
class PassData:
    """The examples as a pass goes through them, in the precision of its products."""

    order: PassOrder
    x: Float[Tensor, "n d"]
    probabilities: Float[Tensor, "n K"]
    """At θ̂."""
    log_probabilities: Float[Tensor, "n K"]


def pass_data(
    order: PassOrder, x: Float[Tensor, "n d"], log_probabilities: Float[Tensor, "n K"], dtype: torch.dtype
) -> PassData:
    """Examples in the order of passes."""
    ordered = log_probabilities[order.rows]
    return PassData(
        order=order,
        x=x.to(dtype)[order.rows][:, order.features],
        # Taken from the logarithms in float64.
        probabilities=ordered.exp().to(dtype),
        log_probabilities=ordered.to(dtype),
    )


def probability_change_sum(
    differences: Float[Tensor, "B K d"], data: PassData, kept: Bool[Tensor, "n B"] | None
) -> Float[Tensor, "B K d"]:
    """Σⱼ xⱼ δpⱼ over the examples here, for the first K − 1 classes by products and the last by difference.

    Args:
        differences: Δ of each model, with no part that is common to all classes.
        kept: False where a model leaves an example out, and so two products for all models whatever they
            leave out; None where every model sums over all examples.
    """
    x, order = data.x, data.order
    num_models, num_classes, num_features = differences.shape
    free, num_columns = num_classes - 1, num_models + -num_models % ALIGNMENT
    # Class-major columns, so that sums over classes run along long contiguous rows of models.
    columns = x.new_zeros(free, num_columns, num_features)
    columns[:, :num_models] = differences[:, :free, order.features].transpose(0, 1)
    columns = columns.flatten(0, 1)
    summed = torch.zeros_like(columns)
    logits = x.new_empty(min(CHUNK_ROWS, len(x)), len(columns))
    for start, width in zip(range(0, len(x), CHUNK_ROWS), order.widths, strict=True):
        rows = slice(start, start + CHUNK_ROWS)
        present = x[rows, :width]
        chunk = torch.mm(present, columns[:, :width].T, out=logits[: len(present)])
        by_class = chunk.view(-1, free, num_columns)
        to_probability_change_(by_class, data.probabilities[rows], data.log_probabilities[rows])
        if kept is not None:
            by_class[:, :, :num_models].mul_(kept[order.rows[rows], None])
        summed[:, :width].addmm_(chunk.T, present)
    by_model = summed.view(free, num_columns, -1)[:, :num_models].transpose(0, 1)
    in_place = torch.empty(num_models, free, num_features, dtype=differences.dtype, device=x.device)
    in_place[:, :, order.features] = by_model.to(differences.dtype)
    return torch.cat([in_place, -in_place.sum(1, keepdim=True)], dim=1)
