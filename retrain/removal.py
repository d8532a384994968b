"""All leave-one-out risks R₋ᵢ at once, seen from θ̂: their gradients at θ̂ + Δᵢ for a batch of removed points.

    ∇R₋ᵢ(θ̂ + Δ) = [Σⱼ xⱼ(pⱼ − yⱼ) + Σⱼ xⱼ δpⱼ − xᵢ(pᵢ + δpᵢ − yᵢ)] / (n − 1) + l2·(θ̂ + Δ)

where pⱼ are the probabilities at θ̂ and δpⱼ their change by the logits u = Δxⱼ, free of cancellation
(`retrain/probability_change.py`). So the products may run in float32 while Δ is far from its solution: the
change, not the gradient, carries the rounding. One gradient of B models is one pair of products, n × d by
d × B(K − 1) and back: no probability sees a part of Δ that is common to all classes, so the last class is
minus the sum of the others.

A gradient comes in two kinds. An *estimate* may be of float32 and carries no norm that anybody may keep. A
*measurement* is of float64, at the very Δ that it holds; only `measure` makes one, and only its norm may end
a model, be stored or stand in a certificate.

The examples may be shared out over ranks: then x, probabilities and labels are this rank's rows, every sum
over examples is a sum over ranks too, and all ranks call the same functions in the same order.

Shape legend: n examples here, d features that are ever non-zero, K classes, B models of a batch.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn.functional import one_hot

from erm.softmax import SoftmaxRisk
from retrain.distributed import agree, rank_rows, sum_over_ranks
from retrain.probability_change import centred, probability_change, to_probability_change_

ALIGNMENT = 16
"""Rows and columns of a product in multiples of this many numbers: on MNIST, 720 features instead of 715 and
512 models instead of 500 take a fifth off a float32 pass."""
NOTHING = -1
"""The index that removes nothing: the null control, whose minimiser is θ̂ itself."""
CHUNK_ROWS = 1024
"""Examples a product takes at once: logits of a chunk stay near the cache, and sums over n are blocked."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one float64 pass found of b models. Made by `RemovalProblem.measure` and nothing else."""

    differences: Float64[Tensor, "b K d"]
    """Δᵢ, exactly where the gradient was taken."""
    gradients: Float64[Tensor, "b K d"]
    """∇R₋ᵢ(θ̂ + Δᵢ), L2 inside."""
    norms: Float64[Tensor, " b"]
    """‖∇R₋ᵢ(θ̂ + Δᵢ)‖₂; off by at most `certificate.gradient_rounding_bound`."""


@dataclass(frozen=True, kw_only=True)
class RemovalProblem:
    """What the leave-one-out risks of one θ̂ share. Build it with `removal_problem`."""

    num_examples: int
    """Examples of all ranks."""
    first_row: int
    """Index of the first example here."""
    sharded: bool
    """Whether the ranks have shared the examples out, rather than having all of them each."""
    x: Float[Tensor, "n d"]
    log_probabilities: Float[Tensor, "n K"]
    """log softmax at θ̂, stored because the probabilities themselves may underflow."""
    labels: Float[Tensor, "n K"]
    weights: Float[Tensor, "K d"]
    """θ̂."""
    active: Bool[Tensor, " features"]
    """Which of the model's features take part; every R₋ᵢ is minimised by zeros in the others."""
    residual_sum: Float[Tensor, "K d"]
    """Σⱼ xⱼ(pⱼ − yⱼ) at θ̂, over all ranks."""
    mean_length: float
    """Mean of ‖xⱼ‖ over all ranks."""
    mean_squared_length: float
    """Mean of ‖xⱼ‖² over all ranks."""
    l2: float

    @property
    def num_classes(self) -> int:
        return self.labels.shape[1]

    @property
    def num_features(self) -> int:
        return self.x.shape[1]

    @cached_property
    def probabilities(self) -> Float[Tensor, "n K"]:
        """softmax at θ̂: exactly the exponential of `log_probabilities`."""
        return self.log_probabilities.exp()

    @cached_property
    def double(self) -> tuple[Tensor, Tensor, Tensor]:
        """Examples, probabilities and their logarithms in float64."""
        return self.x, self.probabilities, self.log_probabilities

    @cached_property
    def single(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same in float32."""
        return self.x.float(), self.probabilities.float(), self.log_probabilities.float()

    def agree(self, tensor: Tensor) -> Tensor:
        """The same numbers on every rank that works on the same models; in place."""
        return agree(tensor) if self.sharded else tensor

    def gradient_at_fit(self, indices: Int[Tensor, " B"]) -> Float[Tensor, "B K d"]:
        """∇R₋ᵢ(θ̂) in closed form: no pass over the examples."""
        removed = self._removed_term(indices, None)
        return (self.residual_sum - removed) / self._divisor(indices) + self.l2 * self.weights

    def estimate(
        self, indices: Int[Tensor, " B"], differences: Float[Tensor, "B K d"]
    ) -> Float[Tensor, "B K d"]:
        """∇R₋ᵢ(θ̂ + Δᵢ), L2 inside, by one pass over the examples in float32: good for a step, not for a norm.

        Args:
            indices: training example that each model leaves out, or `NOTHING`.
            differences: Δᵢ in float64.
        """
        return self._gradient(indices, differences, self.single)

    def measure(self, indices: Int[Tensor, " B"], differences: Float[Tensor, "B K d"]) -> Measurement:
        """∇R₋ᵢ(θ̂ + Δᵢ), L2 inside, and its norm, by one pass over the examples in float64.

        Args:
            indices: training example that each model leaves out, or `NOTHING`.
            differences: Δᵢ in float64.
        """
        gradients = self._gradient(indices, differences, self.double)
        norms = self.agree(gradients.flatten(1).norm(dim=1))
        return Measurement(differences=differences, gradients=gradients, norms=norms)

    def _gradient(
        self, indices: Int[Tensor, " B"], differences: Float[Tensor, "B K d"], data: tuple[Tensor, ...]
    ) -> Float[Tensor, "B K d"]:
        """Everything but the two products is float64, whatever the precision of the data."""
        # Rounding to float32 leaves Δ with a small part common to all classes, which no probability sees.
        moving = centred(differences)
        changed = self._total(self._probability_change_sum(moving, data))
        removed = self._removed_term(indices, moving)
        summed = self.residual_sum + changed - removed
        return summed / self._divisor(indices) + self.l2 * (self.weights + differences)

    def _divisor(self, indices: Int[Tensor, " B"]) -> Float[Tensor, "B 1 1"]:
        return (self.num_examples - (indices != NOTHING).to(self.x.dtype))[:, None, None]

    def _removed_term(
        self, indices: Int[Tensor, " B"], differences: Float[Tensor, "B K d"] | None
    ) -> Float[Tensor, "B K d"]:
        """xᵢ(pᵢ − yᵢ) at θ̂ + Δᵢ, zero where nothing is removed."""
        x, log_probabilities, labels = self._examples(indices)
        probabilities = log_probabilities.exp()
        if differences is not None:
            logits = torch.einsum("bkd,bd->bk", differences, x)
            probabilities = probabilities + probability_change(log_probabilities, logits)
        residuals = (probabilities - labels) * (indices != NOTHING)[:, None]
        return residuals[:, :, None] * x[:, None, :]

    def _examples(
        self, indices: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B K"], Float[Tensor, "B K"]]:
        """Features, log-probabilities at θ̂ and labels of some examples, from whichever rank has them."""
        rows = (indices - self.first_row).clamp(0, len(self.x) - 1)
        parts = (self.x[rows], self.log_probabilities[rows], self.labels[rows])
        if not self.sharded:
            return parts
        here = (indices >= self.first_row) & (indices < self.first_row + len(self.x))
        joined = self._total(torch.cat(parts, dim=1) * here[:, None])
        x, log_probabilities, labels = torch.split(joined, [part.shape[1] for part in parts], dim=1)
        return x, log_probabilities, labels

    def _total(self, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor) if self.sharded else tensor

    def _probability_change_sum(
        self, differences: Float[Tensor, "B K d"], data: tuple[Tensor, ...]
    ) -> Float[Tensor, "B K d"]:
        """Σⱼ xⱼ δpⱼ, for the first K − 1 classes by products and the last by difference."""
        x, probabilities, log_probabilities = data
        free, num_models = self.num_classes - 1, len(differences)
        num_columns = num_models + -num_models % ALIGNMENT
        # Class-major columns, so that sums over classes run along long contiguous rows of models.
        columns = x.new_zeros(free, num_columns, self.num_features)
        columns[:, :num_models] = differences[:, :free].transpose(0, 1)
        columns = columns.flatten(0, 1)
        summed = torch.zeros_like(columns)
        logits = x.new_empty(min(CHUNK_ROWS, len(x)), len(columns))
        for start in range(0, len(x), CHUNK_ROWS):
            rows = slice(start, start + CHUNK_ROWS)
            chunk = torch.mm(x[rows], columns.T, out=logits[: len(x[rows])])
            to_probability_change_(
                chunk.view(-1, free, num_columns), probabilities[rows], log_probabilities[rows]
            )
            summed.addmm_(chunk.T, x[rows])
        by_model = summed.view(free, num_columns, -1)[:, :num_models].transpose(0, 1).to(differences.dtype)
        return torch.cat([by_model, -by_model.sum(1, keepdim=True)], dim=1)


def removal_problem(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    *,
    sharded: bool = False,
    device: torch.device | None = None,
) -> RemovalProblem:
    """Prepare the leave-one-out risks around θ̂, in float64.

    Features that are zero in every example are dropped where θ̂ is zero too: there every R₋ᵢ has gradient
    l2·θ, so its minimiser stays at zero. A few of them stay, to fill up the rows of a product (`ALIGNMENT`).

    Args:
        risk: the empirical risk over all examples.
        theta: its minimiser.
        sharded: keep this rank's share of the examples only.
        device: where to compute; the risk's own when None.
    """
    device = device or risk.x.device
    rows = rank_rows(risk.num_examples) if sharded else slice(0, risk.num_examples)
    weights = risk.weights(theta.double()).to(risk.x.device)
    active = _padded((risk.x != 0).any(dim=0) | (weights != 0).any(dim=0))
    x = risk.x[rows][:, active].to(device, torch.float64).contiguous()
    weights = weights[:, active].contiguous().to(device)
    log_probabilities = torch.log_softmax(x @ weights.T, dim=1)
    probabilities = log_probabilities.exp()
    labels = one_hot(risk.y[rows], risk.num_classes).to(x)
    residual_sum = torch.zeros_like(weights)
    for start in range(0, len(x), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        residual_sum.addmm_((probabilities[chunk] - labels[chunk]).T, x[chunk])
    squared_lengths = x.square().sum(1)
    lengths = torch.stack([squared_lengths.sqrt().sum(), squared_lengths.sum()])
    if sharded:
        residual_sum, lengths = sum_over_ranks(residual_sum), sum_over_ranks(lengths)
    mean_length, mean_squared_length = (lengths / risk.num_examples).tolist()
    return RemovalProblem(
        num_examples=risk.num_examples,
        first_row=rows.start,
        sharded=sharded,
        x=x,
        log_probabilities=log_probabilities,
        labels=labels,
        weights=weights,
        active=active.to(device),
        residual_sum=residual_sum,
        mean_length=mean_length,
        mean_squared_length=mean_squared_length,
        l2=risk.l2,
    )


def _padded(active: Bool[Tensor, " features"]) -> Bool[Tensor, " features"]:
    """Add inactive features, if there are enough, until the number is a multiple of `ALIGNMENT`."""
    padding = torch.nonzero(~active).flatten()[: -int(active.sum()) % ALIGNMENT]
    padded = active.clone()
    padded[padding] = True
    return padded
