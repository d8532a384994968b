"""The problem of `retrain/problem.py` where several ranks solve it: what they share out and add up."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from erm.softmax import SoftmaxRisk
from parallel.collectives import all_reduce_sum, broadcast
from parallel.group import Group
from retrain.prepare import active_features, removal_problem
from retrain.problem import RemovalProblem
from retrain.removal import RemovalBatch


@dataclass(frozen=True, kw_only=True)
class SharedHessianProblem(RemovalProblem):
    """Every rank has all examples and solves models of its own; only the Hessian they build together."""

    group: Group

    def hessian_sum(self, dtype: torch.dtype, kept: float) -> Float[Tensor, "q d q d"]:
        rows = self.group.own_rows(self.num_examples)
        return all_reduce_sum(self.hessian_sum_of(rows, dtype, kept), self.group)


@dataclass(frozen=True, kw_only=True)
class ShardedProblem(RemovalProblem):
    """Each rank has its own rows of the examples, and all solve the same models, by the same calls in the
    same order: every sum over examples is one over ranks too."""

    group: Group
    rows: slice
    """The examples here, among all."""

    @property
    def num_partial_sums(self) -> int:
        return self.group.size

    def total(self, tensor: Tensor) -> Tensor:
        return all_reduce_sum(tensor, self.group)

    def broadcast(self, tensor: Tensor) -> Tensor:
        return broadcast(tensor, self.group)

    def hessian_sum(self, dtype: torch.dtype, kept: float) -> Float[Tensor, "q d q d"]:
        return all_reduce_sum(self.hessian_sum_of(slice(None), dtype, kept), self.group)

    def here(self, removals: RemovalBatch) -> RemovalBatch:
        return removals.within(self.rows)


def shared_hessian_problem(
    risk: SoftmaxRisk, theta: Float[Tensor, " p"], group: Group, *, scales_l2: bool = False
) -> SharedHessianProblem:
    """The problem of ranks that share out the models. Arguments as of `removal_problem`."""
    problem = removal_problem(risk, theta, device=group.device, scales_l2=scales_l2)
    return SharedHessianProblem(**_fields(problem), group=group)


def sharded_problem(
    risk: SoftmaxRisk, theta: Float[Tensor, " p"], group: Group, *, scales_l2: bool = False
) -> ShardedProblem:
    """The problem of ranks that share out the examples; each keeps its own.

    Args:
        risk: the empirical risk over all examples, maybe in host memory.
        theta: its minimiser.
        group: the ranks; each computes on its device.
        scales_l2: as of `removal_problem`.
    """
    rows = group.own_rows(risk.num_examples)
    mine = replace(risk, x=risk.x[rows], y=risk.y[rows])
    part = removal_problem(
        mine, theta, active=active_features(risk, theta), device=group.device, scales_l2=scales_l2
    )
    means = part.x.new_tensor([part.mean_length, part.mean_squared_length])
    means = all_reduce_sum(means * (part.num_examples / risk.num_examples), group)
    mean_length, mean_squared_length = means.tolist()
    whole = {
        "num_examples": risk.num_examples,
        "residual_sum": all_reduce_sum(part.residual_sum, group),
        "mean_length": mean_length,
        "mean_squared_length": mean_squared_length,
    }
    return ShardedProblem(**_fields(part) | whole, group=group, rows=rows)


def _fields(problem: RemovalProblem) -> dict[str, Any]:
    return {field.name: getattr(problem, field.name) for field in fields(problem)}
