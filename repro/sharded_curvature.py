"""The explicit Hessian, built by several ranks together."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature
from erm.softmax import SoftmaxCurvature
from parallel.collectives import all_reduce_sum
from parallel.group import Group


@dataclass(frozen=True)
class ShardedCurvature(SoftmaxCurvature):
    """Every rank has all examples; each sums the Hessian over its own, and they add up."""

    group: Group

    def hessian_sum(self, rows: slice | None = None) -> Float[Tensor, "K d K d"]:
        if rows is not None:
            return super().hessian_sum(rows)
        return all_reduce_sum(super().hessian_sum(self.group.own_rows(self.num_examples)), self.group)


def sharded_curvature(curvature: Curvature, group: Group) -> Curvature:
    """The same curvature, whose explicit matrix the ranks build together if it is a sum over examples."""
    if group.size == 1 or not isinstance(curvature, SoftmaxCurvature):
        return curvature
    return ShardedCurvature(curvature.x, curvature.probabilities, curvature.l2, group)
