"""The paper's problem as the peers take it: an `nn.Linear` with θ̂ in it, float32 tensors, the loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.mnist import Trained


@dataclass(frozen=True)
class PeerProblem:
    """Softmax regression with L2, at θ̂; what is asked is s_testᵀ∇L(zᵢ), up to a constant factor."""

    model: nn.Linear
    l2: float
    x: Float[Tensor, "n d"]
    y: Int[Tensor, " n"]
    x_test: Float[Tensor, "1 d"]
    y_test: Int[Tensor, " 1"]

    def batches(self, size: int) -> "DataLoader[tuple[Tensor, ...]]":
        """The training examples in order."""
        return DataLoader(TensorDataset(self.x, self.y), batch_size=size)

    def test_batch(self) -> "DataLoader[tuple[Tensor, ...]]":
        return DataLoader(TensorDataset(self.x_test, self.y_test), batch_size=1)

    def loss(self, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy + (l2/2)‖θ‖², in the style of `torch.func`."""
        squares = sum((values.square().sum() for values in parameters.values()), torch.zeros(()))
        return self.test_loss(parameters, x, y) + self.l2 / 2 * squares

    def test_loss(self, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy; one example needs no batch dimension."""
        logits = torch.func.functional_call(self.model, dict(parameters), (x if x.dim() > 1 else x[None],))
        return cross_entropy(logits, y.long().reshape(-1))


Candidate = Callable[[PeerProblem], Float[Tensor, " n"]]
Candidates = dict[str, Candidate]
"""By name, what scores every training example."""


def peer_problem(trained: Trained) -> PeerProblem:
    """The same θ̂, examples and test point in float32, which is what the peers are written for."""
    risk = trained.risk
    model = nn.Linear(risk.num_features, risk.num_classes, bias=False)
    with torch.no_grad():
        model.weight.copy_(risk.weights(trained.theta))
    return PeerProblem(model, risk.l2, risk.x.float(), risk.y, trained.x_test.float(), trained.y_test.long())
