"""Softmax regression's work on a batch, and what all batches share: problem, factor, stragglers.

What the ranks share out are the models; or, for data that one device cannot hold, the examples, and then all
work on the same models.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erm.softmax import SoftmaxRisk
from parallel.group import ALONE, Group
from retrain.batches import Batch, batch_size_that_fits, stored_differences
from retrain.certificate import distance_bound, gradient_rounding_bound, l2_of_models
from retrain.group_solver import MEMORY as GROUP_MEMORY
from retrain.missing import SolveBatch, solve_in_batches
from retrain.one_model import solve_one
from retrain.path import MEMORY
from retrain.preconditioner import KeptHessian, Preconditioner, build_preconditioner, kept_hessian
from retrain.prepare import removal_problem
from retrain.problem import RemovalProblem
from retrain.removal import Removal, RemovalBatch
from retrain.settings import RetrainingProgress, RetrainSettings, SolvedNow
from retrain.sharded import sharded_problem, shared_hessian_problem
from retrain.solution import BatchSolution
from retrain.solver import solve_batch
from retrain.tally import Tally
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache


class LeaveOneOutError(ValueError):
    """The models of this risk cannot be certified."""


def check_certifiable(l2: float) -> None:
    """Raise LeaveOneOutError at λ = 0, where no minimiser can be certified."""
    if l2 <= 0:
        raise LeaveOneOutError(
            "leave-one-out models cannot be certified at model.l2=0: without L2 the risk is not strongly "
            "convex and may have no minimiser. Set model.l2 > 0 (the paper uses 0.01)"
        )


def solve_missing(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    removals: Iterable[Removal],
    cache: WeightCache,
    settings: RetrainSettings,
    report: Callable[[RetrainingProgress], None],
    group: Group = ALONE,
) -> SolvedNow:
    """Solve, over all ranks, the models that the caches lack, and the null control; write each batch.

    Args:
        risk: the empirical risk over all training examples.
        theta: its minimiser θ̂.
        removals: what to fit without, the same on every rank; from `removal` or `leave_one_out`.
        cache: where finished models lie; ranks of one machine share it, and in the end rank 0's holds all.
        settings: tolerance, precision, batch size, what is shared out.
        report: called as this rank's work goes on.
        group: the ranks.

    Returns:
        The models that all ranks had to solve, and how this rank's came down.

    Raises:
        LeaveOneOutError: without L2 no minimiser can be certified.
    """
    check_certifiable(risk.l2)
    sharded = settings.shard == "data"

    def prepare(missing: tuple[Removal, ...]) -> tuple[int, SolveBatch]:
        problem = _problem(risk, theta, group, settings)
        pairs = GROUP_MEMORY if any(len(rows) > 1 for rows in missing) else MEMORY
        size = settings.batch_size or batch_size_that_fits(problem, group, pairs=pairs)
        work = _Work(
            risk=risk,
            problem=problem,
            curvature=_curvature(problem, _first_precision(settings)),
            cache=cache,
            settings=settings,
            reads=group.is_first or not sharded,
        )
        return size, work.solved

    return solve_in_batches(removals, cache, settings.tolerance, prepare, report, group, sharded=sharded)


def _problem(
    risk: SoftmaxRisk, theta: Float[Tensor, " p"], group: Group, settings: RetrainSettings
) -> RemovalProblem:
    scales_l2 = settings.l2_scaling == "sum"
    if group.size == 1:
        return removal_problem(risk, theta, device=group.device, scales_l2=scales_l2)
    make = sharded_problem if settings.shard == "data" else shared_hessian_problem
    return make(risk, theta, group, scales_l2=scales_l2)


def _first_precision(settings: RetrainSettings) -> torch.dtype:
    return torch.float32 if settings.precision == "mixed" else torch.float64


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What all batches of this rank are solved with."""

    risk: SoftmaxRisk
    problem: RemovalProblem
    curvature: Preconditioner | KeptHessian
    """Of all batches; or what each batch has its own factor from."""
    cache: WeightCache
    settings: RetrainSettings
    reads: bool
    """Whether this rank reads stored models: of those that work on the same models, one does."""

    def solved(self, batch: Batch, tally: Tally) -> RetrainedWeights:
        problem, settings = self.problem, self.settings
        removals, start = RemovalBatch(batch.removals, problem.x.device), None
        if batch.stored:
            start = stored_differences(problem, batch, self.cache, reads=self.reads)
        solution = solve_batch(
            problem,
            _factor_of(self.curvature, removals),
            removals,
            tolerance=settings.tolerance,
            single_precision=settings.precision == "mixed",
            start=start,
            report=tally.note,
        )
        if not bool(solution.converged.all()):
            tally.say("stragglers", int(solution.converged.sum()))
            _solve_stragglers(self.risk, problem, removals, solution)
        return _storable(problem, removals, solution)


def _curvature(problem: RemovalProblem, dtype: torch.dtype) -> Preconditioner | KeptHessian:
    """Every batch has a λ of its own where n·λ is kept."""
    return kept_hessian(problem, dtype) if problem.scales_l2 else build_preconditioner(problem, dtype)


def _factor_of(curvature: Preconditioner | KeptHessian, removals: RemovalBatch) -> Preconditioner:
    return curvature if isinstance(curvature, Preconditioner) else curvature.factored(removals)


def _solve_stragglers(
    risk: SoftmaxRisk, problem: RemovalProblem, removals: RemovalBatch, solution: BatchSolution
) -> None:
    """Solve the models that the batch left above the tolerance one by one, into the solution."""
    for place in torch.nonzero(~solution.converged).flatten().tolist():
        start = solution.differences[place]
        found = solve_one(risk, problem, removals.removals[place], start, solution.tolerance)
        solution.keep_better(torch.tensor([place], device=problem.x.device), found)


def _storable(problem: RemovalProblem, removals: RemovalBatch, solution: BatchSolution) -> RetrainedWeights:
    """The models as they were measured, with the bound on the distance that this implies."""
    differences, norms = solution.differences, solution.gradient_norms
    rounding = gradient_rounding_bound(problem, removals.sizes, differences.flatten(1).norm(dim=1))
    return RetrainedWeights(
        removals=removals.removals,
        differences=_with_all_features(differences, problem.active).cpu().numpy(),
        gradient_norms=norms.cpu().numpy(),
        distance_bounds=distance_bound(norms, rounding, l2_of_models(problem, removals.sizes)).cpu().numpy(),
        passes=solution.passes.cpu().numpy(),
        tolerances=np.full(len(removals), solution.tolerance),
    )


def _with_all_features(
    differences: Float[Tensor, "B K d"], active: Bool[Tensor, " features"]
) -> Float[Tensor, "B K features"]:
    full = differences.new_zeros(*differences.shape[:2], len(active))
    full[:, :, active] = differences
    return full
