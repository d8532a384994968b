"""The modules that a configuration can name: one hidden layer, the paper's small CNN, softmax regression.

Where training starts is drawn from a seed: their risks are not convex, and another seed may end at another
minimum.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from erm.softmax import with_bias

Activation = Literal["tanh", "softplus", "gelu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "tanh": nn.Tanh, "softplus": nn.Softplus, "gelu": nn.GELU
}  # fmt: skip
"""Each has derivatives of every order."""
CHANNELS = 8
"""Of every convolution of the CNN but the last."""
STRIDES = (1, 2, 1, 2, 1)
"""Of its 3×3 convolutions, first to last."""
SMALLEST_SIDE = 21
"""Pixels a side that leave one for the last of them."""


def one_hidden_layer(
    num_features: int, num_classes: int, *, hidden: int, activation: Activation, seed: int
) -> nn.Sequential:
    """Logits W₂ σ(W₁x + b₁) + b₂, started as torch starts linear layers.

    Raises:
        ValueError: there is no such activation, or it is not twice differentiable.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"model.activation={activation}: expected {', '.join(get_args(Activation))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(num_features, hidden), ACTIVATIONS[activation](), nn.Linear(hidden, num_classes)
        )


class Pixels(nn.Module):
    """Rows of pixels as square images of one channel."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Float[Tensor, "m features"]) -> Float[Tensor, "m 1 side side"]:
        return x.view(len(x), 1, self.side, self.side)


class Mean(nn.Module):
    """The mean over each channel."""

    def forward(self, x: Float[Tensor, "m K height width"]) -> Float[Tensor, "m K"]:
        return x.mean(dim=(2, 3))


def paper_cnn(num_features: int, num_classes: int, *, seed: int) -> nn.Sequential:
    """The network of the third panel of Koh & Liang's Figure 2 (`all_CNN_c` in their released code).

    Five 3×3 convolutions without padding to 8 channels, the second and the fourth with stride 2; a 1×1
    convolution to one channel for each class; tanh after every one; the mean over all places; a linear layer.
    For 28×28 pixels and 10 classes that is 80 + 4·584 + 90 + 110 = 2,616 parameters. Biases start at 0,
    weights from a normal of standard deviation 2/√fan_in, in the last layer 1/√fan_in, cut at two of them.

    Raises:
        ValueError: the features are no square image, or too small a one.
    """
    side = math.isqrt(num_features)
    if side * side != num_features or side < SMALLEST_SIDE:
        raise ValueError(
            f"model=cnn takes square images of at least {SMALLEST_SIDE}×{SMALLEST_SIDE} pixels, and there "
            f"are {num_features} features. Take data=mnist or data=fashion_mnist, or model=network"
        )
    layers: list[nn.Module] = [Pixels(side)]
    channels = 1
    for stride in STRIDES:
        layers += [nn.Conv2d(channels, CHANNELS, 3, stride=stride), nn.Tanh()]
        channels = CHANNELS
    layers += [nn.Conv2d(CHANNELS, num_classes, 1), nn.Tanh(), Mean(), nn.Linear(num_classes, num_classes)]
    module = nn.Sequential(*layers)
    _draw_weights(module, torch.Generator().manual_seed(seed))
    return module


def weights_of(module: nn.Module) -> tuple[str, ...]:
    """Names of the parameters with two dimensions or more: the weights, without biases and scales."""
    return tuple(name for name, parameter in module.named_parameters() if parameter.ndim > 1)


def _draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                # Of the linear layer half as much, as in the released code.
                deviation = (1 if parameter.ndim == 2 else 2) / math.sqrt(parameter[0].numel())
                limits = {"a": -2 * deviation, "b": 2 * deviation}
                nn.init.trunc_normal_(parameter, std=deviation, generator=generator, **limits)


class SoftmaxRegression(nn.Module):
    """Logits W x, from W = 0, with the parameters of `SoftmaxRisk` in the same order, to be compared with it.

    A bias is one more feature that is always 1: the last column of W.
    """

    def __init__(self, num_features: int, num_classes: int, *, bias: bool) -> None:
        super().__init__()
        self.bias = bias
        self.weight = nn.Parameter(torch.zeros(num_classes, num_features + bias))

    def forward(self, x: Float[Tensor, "m features"]) -> Float[Tensor, "m K"]:
        return with_bias(x, self.bias) @ self.weight.T
