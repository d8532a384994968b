"""The retrainer of softmax regression: all models solved together, each certified, and cached.

What the ranks share out are the models; or, for data that one device cannot hold, the examples, and then all
work on the same models.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from erm.softmax import SoftmaxRisk
from retrain.batches import Batch, batch_size_that_fits, stored_differences
from retrain.certificate import distance_bound, loss_error_bound
from retrain.changes import Changes, TestFeatures, TestLabels
from retrain.ground_truth import ground_truth
from retrain.group_solver import MEMORY as GROUP_MEMORY
from retrain.leverage import amplification
from retrain.one_model import solve_one
from retrain.path import MEMORY
from retrain.preconditioner import KeptHessian, Preconditioner, build_preconditioner, kept_hessian
from retrain.prepare import removal_problem
from retrain.problem import RemovalProblem
from retrain.recheck import Rechecked, recheck
from retrain.removal import Removal, RemovalBatch
from retrain.retrainer import LeaveOneOutError, Retrainer, SolveBatch
from retrain.settings import RetrainingProgress, SolvedNow, Tally
from retrain.solution import BatchSolution
from retrain.solver import solve_batch
from retrain.weight_file import RetrainedWeights


def check_certifiable(l2: float) -> None:
    """Raise LeaveOneOutError at λ = 0, where no minimiser can be certified."""
    if l2 <= 0:
        raise LeaveOneOutError(
            "leave-one-out models cannot be certified at model.l2=0: without L2 the risk is not strongly "
            "convex and may have no minimiser. Set model.l2 > 0 (the paper uses 0.01)"
        )


@dataclass(frozen=True, kw_only=True)
class CertifiedSoftmax(Retrainer):
    """A `Retrainer` whose every actual change has a certificate."""

    risk: SoftmaxRisk

    @property
    def description(self) -> str:
        return f"softmax regression with {self.risk.num_parameters:,} parameters, λ = {self.risk.l2:g}"

    @property
    def shares_examples(self) -> bool:
        return self.settings.shard == "data"

    @property
    def scales_l2(self) -> bool:
        """Whether a removal keeps n·λ instead of λ."""
        return self.settings.l2_scaling == "sum"

    def solve(self, removals: Iterable[Removal], report: Callable[[RetrainingProgress], None]) -> SolvedNow:
        check_certifiable(self.risk.l2)
        return super().solve(removals, report)

    def prepare(self, missing: tuple[Removal, ...]) -> tuple[int, SolveBatch]:
        settings = self.settings
        problem = removal_problem(
            self.risk,
            self.theta,
            self.group,
            scales_l2=self.scales_l2,
            shares_examples=self.shares_examples,
        )
        pairs = GROUP_MEMORY if any(len(rows) > 1 for rows in missing) else MEMORY
        size = settings.batch_size or batch_size_that_fits(problem, self.group, pairs=pairs)
        dtype = torch.float32 if settings.precision == "mixed" else torch.float64
        # Every batch has a λ of its own where n·λ is kept.
        curvature = (kept_hessian if self.scales_l2 else build_preconditioner)(problem, dtype)
        return size, lambda batch, tally: self._solved(problem, curvature, batch, tally)

    def _solved(
        self, problem: RemovalProblem, curvature: Preconditioner | KeptHessian, batch: Batch, tally: Tally
    ) -> RetrainedWeights:
        removals, start = RemovalBatch(batch.removals, problem.x.device), None
        if batch.stored:
            # Of ranks that work on the same models, one reads.
            reads = self.group.is_first or not self.shares_examples
            start = stored_differences(problem, batch, self.cache, reads=reads)
        solution = solve_batch(
            problem,
            curvature if isinstance(curvature, Preconditioner) else curvature.factored(removals),
            removals,
            tolerance=self.settings.tolerance,
            single_precision=self.settings.precision == "mixed",
            start=start,
            report=tally.note,
        )
        if not bool(solution.converged.all()):
            tally.say("stragglers", int(solution.converged.sum()))
            _solve_stragglers(self.risk, problem, removals, solution)
        return _storable(problem, removals, solution)

    def changes(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal] | None = None
    ) -> Changes:
        labels = y_test.to(self.risk.x.device)
        return ground_truth(self.risk, self.theta, self.cache.parts(removals), x_test, labels)

    def recheck(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """By plain formulas: see `retrain.recheck.recheck`; a file of the cache at a time."""
        for part in self.cache.parts(removals):
            yield recheck(self.risk, self.theta, part, x_test, y_test, scales_l2=self.scales_l2)

    def amplification(self, removals: Collection[Removal] | None = None) -> dict[int, float]:
        return amplification(self.risk, self.theta, self.cache.parts(removals))

    def certificate_per_norm(self, x_test: TestFeatures) -> Float[Tensor, " t"]:
        """√2‖x‖/λ; a removal's λ is this or larger."""
        features = self.risk.features(x_test).double()
        return loss_error_bound(features, features.new_tensor([1 / self.risk.l2]))[:, 0]


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
    distances = distance_bound(problem, removals.sizes, norms, differences.flatten(1).norm(dim=1))
    return RetrainedWeights(
        removals=removals.removals,
        differences=_with_all_features(differences, problem.active).cpu().numpy(),
        gradient_norms=norms.cpu().numpy(),
        distance_bounds=distances.cpu().numpy(),
        passes=solution.passes.cpu().numpy(),
        tolerances=np.full(len(removals), solution.tolerance),
    )


def _with_all_features(
    differences: Float[Tensor, "B K d"], active: Bool[Tensor, " features"]
) -> Float[Tensor, "B K features"]:
    full = differences.new_zeros(*differences.shape[:2], len(active))
    full[:, :, active] = differences
    return full
