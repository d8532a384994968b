"""The risks R₋S of a batch of removals, seen from θ̂: their gradients at θ̂ + Δ, a Δ per removal S.

    ∇R₋S(θ̂ + Δ) = [Σⱼ xⱼ(pⱼ − yⱼ) + Σⱼ xⱼ δpⱼ − Σᵢ∈S xᵢ(pᵢ + δpᵢ − yᵢ)] / (n − |S|) + l2·(θ̂ + Δ)

where pⱼ are the probabilities at θ̂ and δpⱼ their change by the logits u = Δxⱼ, free of cancellation
(`retrain/probability_change.py`). So the products may run in float32 while Δ is far from its solution: the
change, not the gradient, carries the rounding. One gradient of B models is one pass over the examples
(`retrain/data_pass.py`).

A gradient comes in two kinds. An *estimate* may be of float32 and carries no norm that anybody may keep. A
*measurement* is of float64, at the very Δ that it holds; only `measure` makes one, and only its norm may end
a model, be stored or stand in a certificate.

Every sum over examples goes through `total` or `hessian_sum`, and what decides a step through `broadcast`:
the seams by which ranks share the examples out. In one process both do nothing.

Shape legend: n examples here, d features that are ever non-zero, K classes, B models of a batch.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from erm.pass_order import CHUNK_ROWS, PassOrder, pass_order
from erm.softmax_hessian import cross_entropy_hessian_sum
from parallel.collectives import all_reduce_sum, broadcast
from parallel.group import ALONE, Group
from retrain.data_pass import PassData, pass_data, probability_change_sum
from retrain.left_out import sums_of_groups
from retrain.probability_change import centred, probability_change
from retrain.removal import RemovalBatch


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one float64 pass found of b models. Made by `RemovalProblem.measure` and nothing else."""

    differences: Float64[Tensor, "b K d"]
    """Δ of each, exactly where the gradient was taken."""
    gradients: Float64[Tensor, "b K d"]
    """∇R₋S(θ̂ + Δ), L2 inside."""
    norms: Float64[Tensor, " b"]
    """‖∇R₋S(θ̂ + Δ)‖₂; off by at most `certificate.gradient_rounding_bound`."""


@dataclass(frozen=True, kw_only=True)
class RemovalProblem:
    """What the risks R₋S of one θ̂ share. Made by `retrain.prepare.removal_problem`."""

    num_examples: int
    """Of the risk: all of them, whether they are here or not."""
    x: Float[Tensor, "n d"]
    log_probabilities: Float[Tensor, "n K"]
    """log softmax at θ̂, stored because the probabilities themselves may underflow."""
    labels: Float[Tensor, "n K"]
    weights: Float[Tensor, "K d"]
    """θ̂."""
    active: Bool[Tensor, " features"]
    """Which of the model's features take part; every R₋S is minimised by zeros in the others."""
    residual_sum: Float[Tensor, "K d"]
    """Σⱼ xⱼ(pⱼ − yⱼ) at θ̂, over all examples."""
    mean_length: float
    """Mean of ‖xⱼ‖ over all examples."""
    mean_squared_length: float
    """Mean of ‖xⱼ‖² over all examples."""
    l2: float
    scales_l2: bool = False
    """Whether a removal keeps n·λ, so that its λ is λ·n/(n − |S|)."""
    group: Group = ALONE
    """Ranks that build the Hessian together, and solve models of their own unless they share the examples."""
    rows: slice | None = None
    """The examples here, among all, where the ranks share them: then all solve the same models, by the same
    calls in the same order. None where every rank has all examples."""

    @property
    def sharing(self) -> Group:
        """The ranks that have the other examples."""
        return ALONE if self.rows is None else self.group

    def l2_of(self, num_removed: Float[Tensor, "*B"]) -> Float[Tensor, "*B"] | float:
        """λ of each R₋S, the modulus of its strong convexity, by |S|."""
        n = self.num_examples
        return self.l2 * (n / (n - num_removed)) if self.scales_l2 else self.l2

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
    def _pass_order(self) -> PassOrder:
        return pass_order(self.x)

    @cached_property
    def double(self) -> PassData:
        """The examples of float64 passes."""
        return pass_data(self._pass_order, self.x, self.log_probabilities, torch.float64)

    @cached_property
    def single(self) -> PassData:
        """The same in float32."""
        return pass_data(self._pass_order, self.x, self.log_probabilities, torch.float32)

    @property
    def longest_sum(self) -> int:
        """Roundings that a term of a sum over examples meets at the most: in its chunk, over the chunks of
        its rank, over the ranks."""
        n = self.num_examples
        return min(CHUNK_ROWS, n) + math.ceil(n / CHUNK_ROWS) + self.sharing.size

    def total(self, tensor: Tensor) -> Tensor:
        """What was summed over the examples here, as summed over all examples; may be in place."""
        return all_reduce_sum(tensor, self.sharing)

    def broadcast(self, tensor: Tensor) -> Tensor:
        """The same bits wherever the same models are solved; may be in place."""
        return broadcast(tensor, self.sharing)

    def hessian_sum(self, dtype: torch.dtype, kept: float) -> Float[Tensor, "q d q d"]:
        """Σⱼ ∇²CE(zⱼ, θ̂) of the q = K − 1 first classes, no L2, not divided by n, over all examples.

        Args:
            kept: share of each block's trace to sum: see `cross_entropy_hessian_sum`.
        """
        own = slice(None) if self.rows is not None else self.group.own_rows(self.num_examples)
        x, probabilities = self.x[own].to(dtype), self.probabilities[own].to(dtype)
        summed = cross_entropy_hessian_sum(x, probabilities, stored=self.num_classes - 1, kept=kept)
        return all_reduce_sum(summed, self.group)

    def hessian_sum_at(
        self, difference: Float[Tensor, "K d"], share: Float[Tensor, " n"], dtype: torch.dtype, kept: float
    ) -> Float[Tensor, "q d q d"]:
        """The same at θ̂ + Δ, each example weighted.

        Args:
            share: the weight of each example here, not negative.
            kept: as of `hessian_sum`.
        """
        x = self.x.to(dtype)
        probabilities = torch.softmax(self.log_probabilities.to(dtype) + x @ difference.to(dtype).T, dim=1)
        weighted = x * share.to(dtype).sqrt()[:, None]
        total: Tensor = self.total(
            cross_entropy_hessian_sum(weighted, probabilities, stored=self.num_classes - 1, kept=kept)
        )
        return total

    def here(self, removals: RemovalBatch) -> RemovalBatch:
        """What the removals take of the examples here."""
        return removals if self.rows is None else removals.within(self.rows)

    def prepared(self, removals: RemovalBatch) -> RemovalBatch:
        """The same removals, with what every gradient of those of several rows needs, and no Δ changes."""
        if not removals.groups:
            return removals
        return replace(removals, residual_sums=self._sums_of_groups(removals))

    def gradient_at_fit(self, removals: RemovalBatch) -> Float[Tensor, "B K d"]:
        """∇R₋S(θ̂) in closed form: no pass over the examples."""
        removed = self._removed_sum(removals, None)
        return self._mean(removals, self.residual_sum - removed, self.weights)

    def estimate(self, removals: RemovalBatch, differences: Float[Tensor, "B K d"]) -> Float[Tensor, "B K d"]:
        """∇R₋S(θ̂ + Δ), L2 inside, by one pass over the examples in float32: good for a step, for no norm."""
        return self._gradient(removals, differences, self.single)

    def measure(self, removals: RemovalBatch, differences: Float[Tensor, "B K d"]) -> Measurement:
        """∇R₋S(θ̂ + Δ), L2 inside, and its norm, by one pass over the examples in float64, as Δ has to be."""
        gradients = self._gradient(removals, differences, self.double)
        norms = self.broadcast(gradients.flatten(1).norm(dim=1))
        return Measurement(differences=differences, gradients=gradients, norms=norms)

    def _gradient(
        self, removals: RemovalBatch, differences: Float[Tensor, "B K d"], data: PassData
    ) -> Float[Tensor, "B K d"]:
        """Everything but the two products is float64, whatever the precision of the data."""
        # Rounding to float32 leaves Δ with a small part common to all classes, which no probability sees.
        moving = centred(differences)
        here = self.here(removals)
        kept = here.kept(len(self.x)) if here.groups else None
        changed = self.total(probability_change_sum(moving, data, kept))
        removed = self._removed_sum(removals, moving)
        return self._mean(removals, self.residual_sum + changed - removed, self.weights + differences)

    def _mean(
        self, removals: RemovalBatch, summed: Float[Tensor, "B K d"], weights: Float[Tensor, "*#B K d"]
    ) -> Float[Tensor, "B K d"]:
        """Of a sum over the examples that are left, with the L2 of these weights."""
        sizes = removals.sizes[:, None, None]
        return summed / (self.num_examples - sizes) + self.l2_of(sizes) * weights

    def _removed_sum(
        self, removals: RemovalBatch, differences: Float[Tensor, "B K d"] | None
    ) -> Float[Tensor, "B K d"]:
        """What is to be subtracted from a sum over all examples: Σᵢ∈S xᵢ(pᵢ + δpᵢ − yᵢ), δp = 0 without Δ.

        Of a removal of several rows it is the part at θ̂ alone: `probability_change_sum` masks their δp.
        """
        removed = self.total(self._removed_points(self.here(removals), differences))
        if removals.groups:
            known = removals.residual_sums
            removed = removed + (self._sums_of_groups(removals) if known is None else known)
        return removed

    def _removed_points(
        self, removals: RemovalBatch, differences: Float[Tensor, "B K d"] | None
    ) -> Float[Tensor, "B K d"]:
        """xᵢ(pᵢ + δpᵢ − yᵢ) of the removals of one row, by one product for all; 0 of the others."""
        summed = self.weights.new_zeros(len(removals), *self.weights.shape)
        places, rows = removals.points
        if len(places):
            x = self.x[rows]
            log_probabilities = self.log_probabilities[rows]
            probabilities = log_probabilities.exp()
            if differences is not None:
                logits = torch.einsum("bkd,bd->bk", differences[places], x)
                probabilities = probabilities + probability_change(log_probabilities, logits)
            summed[places] = (probabilities - self.labels[rows])[:, :, None] * x[:, None, :]
        return summed

    def _sums_of_groups(self, removals: RemovalBatch) -> Float[Tensor, "B K d"]:
        """Σᵢ∈S xᵢ(pᵢ − yᵢ) at θ̂ of the removals of several rows, and 0 of the others."""
        summed = sums_of_groups(self.x, self.probabilities, self.labels, self.here(removals))
        total: Tensor = self.total(summed)
        return total
