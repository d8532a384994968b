"""The models that a configuration can name: each turns a data set into its empirical risk."""

from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from erm.autograd import AutogradRisk, HvpMode
from erm.dataset import Dataset
from erm.networks import Activation, SoftmaxRegression, one_hidden_layer, paper_cnn, weights_of
from erm.settings import Count, Seed
from erm.softmax import SoftmaxRisk, with_bias

L2 = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="λ of (λ/2)‖θ‖²; at 0 the Hessian is singular"),
]
WeightL2 = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="λ of (λ/2)‖θ‖², over weights and not over biases"),
]
Start = Annotated[Seed, Field(description="of the parameters that training starts from")]
Bias = Annotated[bool, Field(description="add a feature that is always 1, regularised like the others")]


def logistic(
    dataset: Dataset, *, l2: L2, bias: Bias, dtype: torch.dtype, device: torch.device
) -> SoftmaxRisk:
    """Softmax regression over the training examples, in closed form."""
    x, y = _training_tensors(dataset, dtype, device)
    return SoftmaxRisk(x=with_bias(x, bias), y=y, num_classes=dataset.num_classes, l2=l2, bias=bias)


def logistic_autograd(
    dataset: Dataset,
    *,
    l2: L2,
    bias: Bias,
    hvp: Annotated[HvpMode, Field(description="how Hessian-vector products are formed")],
    dtype: torch.dtype,
    device: torch.device,
) -> AutogradRisk:
    """The same risk through `torch.func`, parameter for parameter.

    Raises:
        ValueError: `l2` is negative, or there is no such form of the Hessian-vector product.
    """
    x, y = _training_tensors(dataset, dtype, device)
    module = SoftmaxRegression(x.shape[1], dataset.num_classes, bias=bias)
    return AutogradRisk(module=module, x=x, y=y, l2=l2, hvp_mode=hvp)


def network(
    dataset: Dataset,
    *,
    hidden: Annotated[Count, Field(description="units of the hidden layer")],
    activation: Annotated[Activation, Field(description="of the hidden layer; twice differentiable")],
    l2: L2,
    seed: Start,
    dtype: torch.dtype,
    device: torch.device,
) -> AutogradRisk:
    """One hidden layer, every parameter regularised.

    Raises:
        ValueError: a setting is outside its range.
    """
    x, y = _training_tensors(dataset, dtype, device)
    module = one_hidden_layer(
        x.shape[1], dataset.num_classes, hidden=hidden, activation=activation, seed=seed
    )
    return AutogradRisk(module=module, x=x, y=y, l2=l2)


def cnn(
    dataset: Dataset, *, l2: WeightL2, seed: Start, dtype: torch.dtype, device: torch.device
) -> AutogradRisk:
    """The paper's small convolutional network, its weights regularised and its biases not.

    Raises:
        ValueError: `l2` is negative, or the examples are no square images of 21×21 pixels or more.
    """
    x, y = _training_tensors(dataset, dtype, device)
    module = paper_cnn(x.shape[1], dataset.num_classes, seed=seed)
    return AutogradRisk(module=module, x=x, y=y, l2=l2, regularised=weights_of(module))


def _training_tensors(
    dataset: Dataset, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "n features"], Int[Tensor, " n"]]:
    """Copies, so that nothing written to a risk's tensors reaches the data set."""
    x = torch.from_numpy(dataset.x_train).to(device, dtype, copy=True)
    return x, torch.tensor(dataset.y_train, dtype=torch.int64, device=device)
