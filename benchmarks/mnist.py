"""MNIST, its θ̂, and its training points by influence: where the benchmarks of retraining start."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.data.mnist import load_mnist
from erm.fit import NewtonFit
from erm.models import logistic
from erm.softmax import SoftmaxRisk
from influence.cg import CG
from influence.scores import influence_scores, most_influential
from repro.configuration.compose import compose

TEST_INDEX = 8


@dataclass(frozen=True)
class Trained:
    """The paper's problem, solved."""

    risk: SoftmaxRisk
    theta: Float[Tensor, " p"]
    by_influence: Int[Tensor, " n"]
    """Training points, those of most influence on the test point first."""
    x_test: Float[Tensor, "1 features"]
    y_test: Int[Tensor, " 1"]


def train_mnist(num_train: int | None = None) -> Trained:
    """Fit θ̂ and rank the training points by CG."""
    root = compose(["data=mnist"])["data"]["root"]
    data = load_mnist(root=root, num_train=num_train)
    risk = logistic(data, l2=0.01, bias=False, dtype=torch.float64, device=torch.device("cpu"))
    theta = NewtonFit()(risk).theta
    x, y = (torch.from_numpy(a[[TEST_INDEX]]) for a in (data.x_test, data.y_test))
    solution = CG().at(risk.curvature(theta))(risk.loss_gradient(theta, x, y)[0])
    scores = influence_scores(risk, theta, solution)
    return Trained(risk, theta, most_influential(scores.influence, risk.num_examples), x, y)
