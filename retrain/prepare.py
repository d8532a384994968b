"""From a risk and its minimiser to the problem that the solver works on."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

from erm.pass_order import ALIGNMENT, CHUNK_ROWS
from erm.softmax import SoftmaxRisk
from parallel.collectives import all_reduce_sum
from parallel.group import ALONE, Group
from retrain.problem import RemovalProblem


def removal_problem(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    group: Group = ALONE,
    *,
    active: Bool[Tensor, " features"] | None = None,
    scales_l2: bool = False,
    shares_examples: bool = False,
) -> RemovalProblem:
    """Prepare the risks R₋S around θ̂, in float64.

    Args:
        risk: the empirical risk over all examples, maybe in host memory.
        group: the ranks; each computes on its device, or on the risk's own where it has none.
        active: the features that take part; `active_features` when None.
        scales_l2: whether a removal keeps n·λ instead of λ.
        shares_examples: whether each rank keeps but its own rows of the examples.
    """
    device, n = group.device or risk.x.device, risk.num_examples
    rows = group.own_rows(n) if shares_examples and group.size > 1 else None
    own = slice(None) if rows is None else rows
    weights = risk.weights(theta.double()).to(risk.x.device)
    active = active_features(risk, theta) if active is None else active
    x = risk.x[own][:, active].to(device, torch.float64).contiguous()
    weights = weights[:, active].contiguous().to(device)
    log_probabilities = torch.log_softmax(x @ weights.T, dim=1)
    probabilities = log_probabilities.exp()
    labels = one_hot(risk.y[own], risk.num_classes).to(x)
    residual_sum = torch.zeros_like(weights)
    for start in range(0, len(x), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        residual_sum.addmm_((probabilities[chunk] - labels[chunk]).T, x[chunk])
    squared_lengths = x.square().sum(1)
    lengths = torch.stack([squared_lengths.sqrt().sum(), squared_lengths.sum()])
    sharing = ALONE if rows is None else group
    means = all_reduce_sum(lengths / max(len(x), 1) * (len(x) / n), sharing)
    mean_length, mean_squared_length = means.tolist()
    return RemovalProblem(
        num_examples=n,
        x=x,
        log_probabilities=log_probabilities,
        labels=labels,
        weights=weights,
        active=active.to(device),
        residual_sum=all_reduce_sum(residual_sum, sharing),
        mean_length=mean_length,
        mean_squared_length=mean_squared_length,
        l2=risk.l2,
        scales_l2=scales_l2,
        group=group,
        rows=rows,
    )


def active_features(risk: SoftmaxRisk, theta: Float[Tensor, " p"]) -> Bool[Tensor, " features"]:
    """Features that are not zero in every example and at θ̂, and a few more to fill up the rows of a product.

    In the others every R₋S has gradient l2·θ, so its minimiser stays at zero. Those that fill up are inactive
    ones, if there are enough, until the number is a multiple of `ALIGNMENT`.
    """
    weights = risk.weights(theta.double()).to(risk.x.device)
    active = (risk.x != 0).any(dim=0) | (weights != 0).any(dim=0)
    padding = torch.nonzero(~active).flatten()[: -int(active.sum()) % ALIGNMENT]
    active[padding] = True
    return active
