"""All leave-one-out risks R₋ᵢ at once, seen from θ̂: their gradients at θ̂ + Δᵢ for a batch of removed points.

    ∇R₋ᵢ(θ̂ + Δ) = [Σⱼ xⱼ(pⱼ − yⱼ) + Σⱼ xⱼ δpⱼ − xᵢ(pᵢ + δpᵢ − yᵢ)] / (n − 1) + l2·(θ̂ + Δ)

where pⱼ are the probabilities at θ̂ and δpⱼ their change. With u = Δxⱼ and s = Σ p·expm1(u),
δp = p(expm1(u) − s)/(1 + s): free of cancellation, so the products may run in float32 while Δ is far from its
solution, and the change, not the gradient, carries the rounding. One gradient of B models is one pair of
products, n × d by d × B(K − 1) and back: neither Δ nor the gradient has a part common to all classes (see
`centred`), so the last class is minus the sum of the others.

The examples may be shared out over ranks: then x, probabilities and labels are this rank's rows, every sum
over examples is a sum over ranks too, and all ranks call the same functions in the same order.

Shape legend: n examples here, d features that are ever non-zero, K classes, B models of a batch.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from erm.softmax import SoftmaxRisk
from retrain.distributed import agree, rank_rows, sum_over_ranks

ALIGNMENT = 16
"""Rows and columns of a product in multiples of this many numbers: on MNIST, 720 features instead of 715 and
512 models instead of 500 take a fifth off a float32 pass."""
NOTHING = -1
"""The index that removes nothing: the null control, whose minimiser is θ̂ itself."""
CHUNK_ROWS = 1024
"""Examples a product takes at once: logits of a chunk stay near the cache, and sums over n are blocked."""


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
    probabilities: Float[Tensor, "n K"]
    labels: Float[Tensor, "n K"]
    weights: Float[Tensor, "K d"]
    """θ̂, less the vector common to all classes."""
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
        return self.probabilities.shape[1]

    @property
    def num_features(self) -> int:
        return self.x.shape[1]

    @cached_property
    def x_single(self) -> Tensor:
        """The examples in float32."""
        return self.x.float()

    @cached_property
    def probabilities_single(self) -> Tensor:
        """The probabilities in float32."""
        return self.probabilities.float()

    def agree(self, tensor: Tensor) -> Tensor:
        """The same numbers on every rank that works on the same models; in place."""
        return agree(tensor) if self.sharded else tensor

    def gradient_at_fit(self, indices: Int[Tensor, " B"]) -> Float[Tensor, "B K d"]:
        """∇R₋ᵢ(θ̂) in closed form: no pass over the examples."""
        removed = self._removed_term(indices, None)
        return (self.residual_sum - removed) / self._divisor(indices) + self.l2 * self.weights

    def gradient(
        self, indices: Int[Tensor, " B"], differences: Float[Tensor, "B K d"], dtype: torch.dtype
    ) -> Float[Tensor, "B K d"]:
        """∇R₋ᵢ(θ̂ + Δᵢ), L2 inside, by one pass over the examples.

        Args:
            indices: training example that each model leaves out, or `NOTHING`.
            differences: Δᵢ in float64, summing to zero over the classes.
            dtype: precision of the pass; everything outside the two products is float64.
        """
        changed = self._total(self._probability_change_sum(differences, dtype))
        removed = self._removed_term(indices, differences)
        summed = self.residual_sum + changed - removed
        return summed / self._divisor(indices) + self.l2 * (self.weights + differences)

    def _divisor(self, indices: Int[Tensor, " B"]) -> Float[Tensor, "B 1 1"]:
        return (self.num_examples - (indices != NOTHING).to(self.x.dtype))[:, None, None]

    def _removed_term(
        self, indices: Int[Tensor, " B"], differences: Float[Tensor, "B K d"] | None
    ) -> Float[Tensor, "B K d"]:
        """xᵢ(pᵢ − yᵢ) at θ̂ + Δᵢ, zero where nothing is removed."""
        x, probabilities, labels = self._examples(indices)
        if differences is not None:
            logits = torch.einsum("bkd,bd->bk", differences, x)
            probabilities = probabilities + probability_change(probabilities, logits)
        residuals = (probabilities - labels) * (indices != NOTHING)[:, None]
        return residuals[:, :, None] * x[:, None, :]

    def _examples(
        self, indices: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B d"], Float[Tensor, "B K"], Float[Tensor, "B K"]]:
        """Features, probabilities at θ̂ and labels of some examples, from whichever rank has them."""
        rows = (indices - self.first_row).clamp(0, len(self.x) - 1)
        parts = (self.x[rows], self.probabilities[rows], self.labels[rows])
        if not self.sharded:
            return parts
        here = (indices >= self.first_row) & (indices < self.first_row + len(self.x))
        joined = self._total(torch.cat(parts, dim=1) * here[:, None])
        x, probabilities, labels = torch.split(joined, [part.shape[1] for part in parts], dim=1)
        return x, probabilities, labels

    def _total(self, tensor: Tensor) -> Tensor:
        return sum_over_ranks(tensor) if self.sharded else tensor

    def _probability_change_sum(
        self, differences: Float[Tensor, "B K d"], dtype: torch.dtype
    ) -> Float[Tensor, "B K d"]:
        """Σⱼ xⱼ δpⱼ, for the first K − 1 classes by products and the last by difference."""
        single = dtype == torch.float32
        x, probabilities = (
            (self.x_single, self.probabilities_single) if single else (self.x, self.probabilities)
        )
        free, num_models = self.num_classes - 1, len(differences)
        num_columns = num_models + -num_models % ALIGNMENT
        # Class-major columns, so that sums over classes run along long contiguous rows of models.
        columns = x.new_zeros(free, num_columns, self.num_features)
        columns[:, :num_models] = differences[:, :free].transpose(0, 1)
        columns = columns.flatten(0, 1)
        summed = torch.zeros_like(columns)
        logits = x.new_empty(min(CHUNK_ROWS, len(x)), len(columns))
        for start in range(0, len(x), CHUNK_ROWS):
            rows = x[start : start + CHUNK_ROWS]
            chunk = torch.mm(rows, columns.T, out=logits[: len(rows)])
            _to_probability_change_(
                chunk.view(len(rows), free, num_columns), probabilities[start : start + CHUNK_ROWS]
            )
            summed.addmm_(chunk.T, rows)
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
    l2·θ, so its minimiser stays at zero. A few of them stay, to make the rows of a product as long as it
    likes them.

    Args:
        risk: the empirical risk over all examples.
        theta: its minimiser.
        sharded: keep this rank's share of the examples only.
        device: where to compute; the risk's own when None.
    """
    device = device or risk.x.device
    rows = rank_rows(risk.num_examples) if sharded else slice(0, risk.num_examples)
    weights = centred(risk.weights(theta.double())[None])[0].to(risk.x.device)
    active = _padded((risk.x != 0).any(dim=0) | (weights != 0).any(dim=0))
    x = risk.x[rows][:, active].to(device, torch.float64).contiguous()
    weights = weights[:, active].contiguous().to(device)
    probabilities = torch.softmax(x @ weights.T, dim=1)
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
        probabilities=probabilities,
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


def centred(weights: Float[Tensor, "B K d"]) -> Float[Tensor, "B K d"]:
    """Subtract the mean over classes: no probability sees it, and every minimiser has none when l2 > 0."""
    return weights - weights.mean(dim=1, keepdim=True)


def probability_change(
    probabilities: Float[Tensor, "*batch K"], logit_change: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch K"]:
    """softmax(z + u) − softmax(z) from p = softmax(z) and u, without cancellation."""
    weighted = probabilities * torch.expm1(logit_change)
    total = weighted.sum(-1, keepdim=True)
    return (weighted - probabilities * total) / (1 + total)


def _to_probability_change_(
    logits: Float[Tensor, "rows free B"], probabilities: Float[Tensor, "rows K"]
) -> None:
    """`probability_change` in place for the first K − 1 classes; the last one's u is minus their sum."""
    free = logits.shape[1]
    last = logits.sum(1).neg_().expm1_().mul_(probabilities[:, free:])
    own = probabilities[:, :free, None]
    weighted = logits.expm1_().mul_(own)
    total = weighted.sum(1).add_(last)
    weighted.addcmul_(own, total[:, None], value=-1).mul_(total.add_(1).reciprocal_()[:, None])
