"""A factor of the Gauss-Newton matrix of the paper's CNN, which makes Newton steps from afar affordable.

The Hessian of 2,616 parameters takes as many products. G = (1/n) Σᵢ Jᵢᵀ(diag pᵢ − pᵢpᵢᵀ)Jᵢ, with the
Jacobians J of the logits, takes one backward pass for each class, and beside it the Hessian is well
conditioned where the fit is good.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv_transpose2d, pad

from erm.autograd import AutogradRisk
from erm.networks import STRIDES

CHUNK = 100
JITTER = 1e-5
"""Added to the diagonal: G is singular along a shift of the last biases, as the Hessian is."""


def factor_of_gauss_newton(
    risk: AutogradRisk, theta: Float[Tensor, " p"], num_examples: int
) -> Float[Tensor, "p p"]:
    """The lower Cholesky factor of G + L2 over so many of the examples, evenly spread; made in float32.

    Args:
        risk: of `erm.networks.paper_cnn`.
        theta: where.
        num_examples: of the mean.
    """
    parameters = [part.float() for part in risk.unflatten(theta).values()]
    total = torch.zeros(len(theta), len(theta))
    rows = torch.linspace(0, risk.num_examples - 1, num_examples).long()
    for some in torch.split(rows, CHUNK):
        logits, jacobian = jacobian_of_logits(parameters, risk.x[some].float())
        p = logits.softmax(1)
        # Jᵀ(diag p − ppᵀ)J is the sum of p_k times the squares of J_k − Σ p J.
        centred = jacobian - torch.einsum("nk,nkp->np", p, jacobian)[:, None]
        weighted = (centred * p.sqrt()[..., None]).flatten(0, 1)
        total += weighted.T @ weighted
    matrix = total.double() / len(rows)
    matrix.diagonal().add_(risk.decay + JITTER)
    factor: Tensor = torch.linalg.cholesky(matrix)
    return factor


def jacobian_of_logits(
    parameters: list[Tensor], x: Float[Tensor, "m features"]
) -> tuple[Float[Tensor, "m K"], Float[Tensor, "m K p"]]:
    """The logits of `paper_cnn` and their derivatives: ten times as fast as `vmap` of a Jacobian."""
    side, m = round(x.shape[1] ** 0.5), len(x)
    image, layers = x.view(m, side, side, 1), list[tuple[Tensor, Tensor, Tensor]]()
    for place, stride in enumerate(STRIDES):
        weight, bias = parameters[2 * place : 2 * place + 2]
        patches = image.unfold(1, 3, stride).unfold(2, 3, stride)
        flat = patches.reshape(m, -1, weight[0].numel())
        out = torch.tanh(flat @ weight.flatten(1).T + bias)
        layers.append((image, flat, out))
        image = out.view(m, *patches.shape[1:3], -1)
    (narrow, narrow_bias, last, last_bias), places = parameters[10:], image.reshape(m, -1, image.shape[3])
    weight = narrow.flatten(1)
    out = torch.tanh(places @ weight.T + narrow_bias)
    mean, unit = out.mean(1), torch.eye(len(last))
    change = last[None, :, None, :] * (1 - out.square())[:, None] / out.shape[1]
    found = [
        unit.expand(m, -1, -1),
        torch.einsum("kl,mj->mklj", unit, mean).flatten(2),
        change.sum(2),
        torch.einsum("mkpo,mpi->mkoi", change, places).flatten(2),
    ]
    change = change @ weight
    for place in reversed(range(len(STRIDES))):
        image, flat, out = layers[place]
        weight = parameters[2 * place]
        change = change * (1 - out.square())[:, None]
        found += [change.sum(2), (change.transpose(2, 3) @ flat[:, None]).flatten(2)]
        if place:
            change = _back(change, weight, STRIDES[place], image.shape[1])
    return mean @ last.T + last_bias, torch.cat(found[::-1], 2)


def _back(
    change: Float[Tensor, "m K places channels"], weight: Tensor, stride: int, side: int
) -> Float[Tensor, "m K before inputs"]:
    """Through a convolution."""
    m, classes, places, channels = change.shape
    width = round(places**0.5)
    images = change.reshape(m * classes, width, width, channels).permute(0, 3, 1, 2)
    before = conv_transpose2d(images, weight, stride=stride)
    missing = side - before.shape[2]
    whole = pad(before, (0, missing, 0, missing)).permute(0, 2, 3, 1)
    return whole.reshape(m, classes, side * side, -1)
