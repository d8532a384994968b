"""How probabilities change when logits do, without cancellation at any size of the change.

Where all |u| ≤ 1 the difference form p(expm1(u) − s)/(1 + s), s = Σ p·expm1(u), keeps every digit: 1 + s is
at least 1/e. Where some |u| is larger, 1 + s may be as small as e⁻ᵘ, and its rounding is multiplied by eᵘ;
there softmax(log p + u) − p is taken, from *stored* logarithms, because p itself underflows.

Shape legend: K classes, B models, rows examples.
"""

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_DIFFERENCE = 1.0
"""The largest |u| of the difference form."""


def centred(weights: Float[Tensor, "B K d"]) -> Float[Tensor, "B K d"]:
    """Subtract the mean over classes: no probability sees it, and every minimiser has none when l2 > 0."""
    return weights - weights.mean(dim=1, keepdim=True)


def probability_change(
    log_probabilities: Float[Tensor, "*batch K"], logit_change: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch K"]:
    """softmax(z + u) − softmax(z) from log softmax(z) and u."""
    probabilities = log_probabilities.exp()
    weighted = probabilities * torch.expm1(logit_change.clamp(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE))
    total = weighted.sum(-1, keepdim=True)
    small = (weighted - probabilities * total) / (1 + total)
    large = torch.softmax(log_probabilities + logit_change, dim=-1) - probabilities
    return torch.where(_small(logit_change.abs().amax(-1, keepdim=True)), small, large)


def to_probability_change_(
    logits: Float[Tensor, "rows free B"],
    probabilities: Float[Tensor, "rows K"],
    log_probabilities: Float[Tensor, "rows K"],
) -> None:
    """`probability_change` in place for the first K − 1 classes; the last one's u is minus their sum.

    Args:
        logits: u of the first K − 1 classes.
        probabilities: the exponential of `log_probabilities`.
        log_probabilities: log softmax(z) of the examples.
    """
    free = logits.shape[1]
    last = logits.sum(1).neg_()
    large = _large_changes(logits, last, probabilities, log_probabilities)
    last.expm1_().mul_(probabilities[:, free:])
    own = probabilities[:, :free, None]
    weighted = logits.expm1_().mul_(own)
    total = weighted.sum(1).add_(last)
    weighted.addcmul_(own, total[:, None], value=-1).mul_(total.add_(1).reciprocal_()[:, None])
    if large is not None:
        rows, models, changes = large
        logits[rows, :, models] = changes


def _large_changes(
    logits: Float[Tensor, "rows free B"],
    last: Float[Tensor, "rows B"],
    probabilities: Float[Tensor, "rows K"],
    log_probabilities: Float[Tensor, "rows K"],
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Rows, models and changes of the first K − 1 classes where some |u| is large; None where there is
    none."""
    extremes = torch.stack([*torch.aminmax(logits), *torch.aminmax(last)]).abs()
    if bool(_small(extremes).all()):
        return None
    largest = torch.maximum(logits.abs().amax(1), last.abs())
    rows, models = torch.nonzero(~_small(largest), as_tuple=True)
    change = torch.cat([logits[rows, :, models], last[rows, models][:, None]], dim=1)
    moved = torch.softmax(log_probabilities[rows] + change, dim=1) - probabilities[rows]
    return rows, models, moved[:, :-1]


def _small(sizes: Tensor) -> Tensor:
    """False also where a size is no number."""
    return sizes <= LARGEST_DIFFERENCE
