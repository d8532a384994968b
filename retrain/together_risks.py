"""R and R₋S of many models at once, where a risk is that of a differentiated module.

An answer is from one pass over the examples: a sum over all of them, and one over the removed ones, which is
taken from it. Models go through a pass together: through their first layer where they begin with a linear one
(`retrain/layer_passes.py`), else by `vmap` over their parameters.

Shape legend: B models, p parameters, n examples.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.nn.functional import cross_entropy

from erm.autograd import AutogradRisk
from erm.risk import EmpiricalRisk
from retrain.layer_passes import LayerPasses, layer_passes
from retrain.removal import Removal
from retrain.removed_risks import Pair, RemovedRisks, SingleRisks, Vectors, check_arguments


def removed_risks(risk: EmpiricalRisk) -> RemovedRisks:
    """R and all R₋S of a risk, by the fastest way that there is for it."""
    return TogetherRisks(risk) if isinstance(risk, AutogradRisk) else SingleRisks(risk)


Derivative = Callable[..., Tensor]
"""(θ, x, y) or (θ, v, x, y) ↦ a sum over the examples of x and y."""


@dataclass(frozen=True)
class TogetherRisks:
    """Of an `AutogradRisk`: a batch of models at a time.

    Args:
        risk: over all training examples.
        passes: through its first layer, where they were made in another precision before.
    """

    risk: AutogradRisk
    passes: LayerPasses | None = None

    def derivatives(
        self, order: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None = None
    ) -> Pair:
        """Third ones in float32: two digits are asked of them, and they are what costs most."""
        check_arguments(order, 3, thetas, removals, v)
        of = (thetas,) if v is None else (thetas, v)
        if order < 3:
            return self._pair(order, removals, of, self.risk.decay * of[-1])
        single = tuple(one.float() for one in of)
        pair = self._single._pair(order, removals, single, torch.zeros_like(single[-1]))
        return Pair(pair.full.to(thetas), pair.without.to(thetas))

    def removed_sums(
        self, order: int, thetas: Vectors, removals: tuple[Removal, ...], v: Vectors | None = None
    ) -> Vectors:
        check_arguments(order, 2, thetas, removals, v)
        return self._removed_sum(order, removals, (thetas,) if v is None else (thetas, v))

    @cached_property
    def _single(self) -> "TogetherRisks":
        passes = None if self._passes is None else self._passes.to(torch.float32)
        return TogetherRisks(self.risk.to(torch.float32), passes)

    @cached_property
    def _passes(self) -> LayerPasses | None:
        return self.passes or layer_passes(self.risk)

    def _first(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        gradient: Tensor = grad(lambda t: cross_entropy(self.risk.logits(t, x), y, reduction="sum"))(theta)
        return gradient

    def _second(self, theta: Tensor, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        image: Tensor = jvp(lambda t: self._first(t, x, y), (theta,), (v,))[1]
        return image

    def _third(self, theta: Tensor, v: Tensor, x: Tensor, y: Tensor) -> Tensor:
        image: Tensor = jvp(lambda t: self._second(t, v, x, y), (theta,), (v,))[1]
        return image

    def _derivative(self, order: int) -> Derivative:
        return (self._first, self._second, self._third)[order - 1]

    def _total(self, order: int, of: tuple[Tensor, ...]) -> Tensor:
        """Over all examples."""
        if self._passes is not None:
            return self._passes.sums(order, *of)
        together = vmap(self._derivative(order), in_dims=(*(0 for _ in of), None, None))
        total = torch.zeros_like(of[0])
        for x, y in self.risk.own_chunks():
            total += together(*of, x, y)
        return total

    def _pair(
        self, order: int, removals: tuple[Removal, ...], of: tuple[Tensor, ...], penalty: Tensor
    ) -> Pair:
        total, n = self._total(order, of), self.risk.num_examples
        left = total.new_tensor([n - len(rows) for rows in removals])[:, None]
        removed = self._removed_sum(order, removals, of)
        return Pair(total / n + penalty, (total - removed) / left + penalty)

    def _removed_sum(self, order: int, removals: tuple[Removal, ...], of: tuple[Tensor, ...]) -> Tensor:
        """Over the removed rows of each model: single rows of all models together, larger groups in turn."""
        function = self._derivative(order)
        found, device = torch.zeros_like(of[0]), self.risk.x.device
        singles = [place for place, rows in enumerate(removals) if len(rows) == 1]
        if singles:
            rows = torch.tensor([removals[place][0] for place in singles], device=device)
            each = vmap(function, in_dims=(*(0 for _ in of), 0, 0))
            chosen = (argument[singles] for argument in of)
            found[singles] = each(*chosen, self.risk.x[rows][:, None], self.risk.y[rows][:, None])
        for place in [place for place, rows in enumerate(removals) if len(rows) > 1]:
            rows = torch.tensor(removals[place], device=device)
            own = [argument[place] for argument in of]
            for x, y in self.risk.chunks(self.risk.x[rows], self.risk.y[rows]):
                found[place] += function(*own, x, y)
        return found
