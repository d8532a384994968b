"""A model of one's own: a network, which `AutogradRisk` makes an empirical risk of."""

import torch
from torch import nn

from erm.autograd import AutogradRisk
from erm.dataset import Dataset


def bottleneck(
    dataset: Dataset, *, hidden: int, l2: float, seed: int, dtype: torch.dtype, device: torch.device
) -> AutogradRisk:
    """Cross-entropy of W₂ tanh(W₁x + b₁) + b₂ plus (l2/2)‖θ‖² over all parameters.

    tanh and not ReLU, because influence needs second derivatives. Where training starts is drawn here: the
    risk is not convex, and another seed may end at another minimum.

    Args:
        dataset: the examples; the risk is over those that train.
        hidden: units of the hidden layer.
        l2: λ.
        seed: of the starting point.
        dtype: of all tensors, float64 from the command line.
        device: of all tensors.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Linear(dataset.x_train.shape[1], hidden),
            nn.Tanh(),
            nn.Linear(hidden, dataset.num_classes),
        )
    x = torch.tensor(dataset.x_train, dtype=dtype, device=device)
    y = torch.tensor(dataset.y_train, device=device)
    return AutogradRisk(module=module, x=x, y=y, l2=l2)
