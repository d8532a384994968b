"""How a test loss changes when logits do, without cancellation where they change little."""

import torch
from jaxtyping import Float
from torch import Tensor


def loss_change_by_logits(
    log_probabilities: Float[Tensor, "*#batch K"],
    labels: Float[Tensor, "*#batch K"],
    logit_change: Float[Tensor, "*batch K"],
) -> Float[Tensor, "*batch"]:
    """ℓ at logits z + u less ℓ at z: log Σ p·exp(u) − u_y.

    Where u is small this is log(1 + Σ p·expm1(u)) − u_y, free of cancellation; where it is large, the sum is
    taken of logarithms, free of overflow.

    Args:
        log_probabilities: log softmax(z).
        labels: one-hot.
        logit_change: u.
    """
    weighted = log_probabilities.exp() * torch.expm1(logit_change.clamp(-1, 1))
    small = torch.log1p(weighted.sum(-1))
    large = torch.logsumexp(log_probabilities + logit_change, dim=-1)
    total = torch.where(logit_change.abs().amax(-1) <= 1, small, large)
    return total - (labels * logit_change).sum(-1)
