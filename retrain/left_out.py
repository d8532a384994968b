"""What the rows that groups leave out add to a sum over all examples, at θ̂.

Shape legend: n examples here, d features, K classes, B models of a batch.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from erm.pass_order import CHUNK_ROWS
from retrain.removal import RemovalBatch

GATHERED_SHARE = 1 / 16
"""Where groups take more of the examples, one product over all is cheaper than gathering the rows of each."""


def sums_of_groups(
    x: Float[Tensor, "n d"],
    probabilities: Float[Tensor, "n K"],
    labels: Float[Tensor, "n K"],
    removals: RemovalBatch,
) -> Float[Tensor, "B K d"]:
    """Σᵢ∈S xᵢ(pᵢ − yᵢ) of removals of several rows, and 0 of the others, by chunks of examples.

    Args:
        x: features of the examples here.
        probabilities: softmax at θ̂.
        labels: one-hot.
        removals: what each model leaves out of the examples here.
    """
    residuals = probabilities - labels
    left_out = sum(len(members) for _, members in removals.groups)
    if left_out > GATHERED_SHARE * len(x) * len(removals):
        return _by_one_product(residuals, x, removals.kept(len(x)))
    summed = x.new_zeros(len(removals), residuals.shape[1], x.shape[1])
    for place, members in removals.groups:
        for start in range(0, len(members), CHUNK_ROWS):
            chunk = members[start : start + CHUNK_ROWS]
            summed[place].addmm_(residuals[chunk].T, x[chunk])
    return summed


def _by_one_product(
    residuals: Float[Tensor, "n K"], x: Float[Tensor, "n d"], kept: Bool[Tensor, "n B"]
) -> Float[Tensor, "B K d"]:
    """The same over all examples, those that a model keeps multiplied by 0: one product for all models."""
    num_classes, num_models = residuals.shape[1], kept.shape[1]
    summed = x.new_zeros(num_classes * num_models, x.shape[1])
    for start in range(0, len(x), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        # Classes outside, so that every model's column of a class is one row of numbers.
        columns = residuals[rows, :, None] * ~kept[rows, None]
        summed.addmm_(columns.flatten(1).T, x[rows])
    return summed.view(num_classes, num_models, -1).transpose(0, 1).contiguous()
