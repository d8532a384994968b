"""Softmax regression as a module, for the general risk to be compared with the closed form."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erm.softmax import with_bias


class SoftmaxRegression(nn.Module):
    """Logits W x, from W = 0, with the parameters of `SoftmaxRisk` in the same order.

    A bias is one more feature that is always 1: the last column of W.
    """

    def __init__(self, num_features: int, num_classes: int, *, bias: bool) -> None:
        super().__init__()
        self.bias = bias
        self.weight = nn.Parameter(torch.zeros(num_classes, num_features + bias))

    def forward(self, x: Float[Tensor, "m features"]) -> Float[Tensor, "m K"]:
        return with_bias(x, self.bias) @ self.weight.T
