"""The retrainer of any risk: models solved together, each certified under a measured condition, and labelled.

The softmax retrainer proves its certificates by strong convexity. Without it there may be many minima, and
what can be said of a model is local: `retrain/local_certificate.py` says how near a minimum is, and
`retrain/continuation.py` whether it is the one that θ̂ becomes.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from retrain.batches import Batch
from retrain.changes import Changes, TestFeatures, TestLabels
from retrain.continuation import label
from retrain.hessian_factor import NoMinimumError
from retrain.leverage import points_of
from retrain.local_changes import local_changes, models_of
from retrain.local_curvature import MOST_LANCZOS
from retrain.local_problem import LocalProblem, local_problem, surroundings
from retrain.local_recheck import local_recheck
from retrain.local_solver import MEMORY, Models, influence_step, solve
from retrain.recheck import Rechecked
from retrain.removal import NOTHING, Removal
from retrain.retrainer import LeaveOneOutError, Retrainer, SolveBatch
from retrain.settings import Tally
from retrain.together_risks import removed_risks
from retrain.weight_file import LocalFacts, RetrainedWeights

MAX_BATCH = 64
"""Models per batch at the most: more share no more work, and a kill loses one batch."""
AIM = 0.9
"""Share of the tolerance that is solved to: another order of summation must not take a model out of it."""


@dataclass(frozen=True, kw_only=True)
class LocallyCertified(Retrainer):
    """A `Retrainer` whose every actual change has a local certificate, and every model a label."""

    @property
    def description(self) -> str:
        return f"a model of {self.risk.num_parameters:,} parameters, not convex, λ = {self.risk.l2:g}"

    def prepare(self, missing: tuple[Removal, ...]) -> tuple[int, SolveBatch]:
        return self.settings.batch_size or self._fits(), self._solved

    def changes(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal] | None = None
    ) -> Changes:
        """With local certificates; see `retrain.local_changes.local_changes`."""
        distance = torch.inf
        for control in self.cache.parts([NOTHING]):
            distance = float(control.lengths()[0] + control.distance_bounds[0])
        labels, parts = y_test.to(self.theta.device), self.cache.parts(removals)
        return local_changes(self.risk, self.theta, parts, (self.theta, distance), x_test, labels)

    def recheck(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """One model at a time by the risk over its own rows, and what its certificate was made of anew."""
        for part in self.cache.parts(removals):
            yield local_recheck(self.risk, self._problem, part, x_test, y_test)

    def amplification(self, removals: Collection[Removal] | None = None) -> dict[int, float]:
        """Where a removal has one row: by what factor ‖∇CE(zᵢ, ·)‖ is larger at the model than at θ̂.

        In softmax regression that is the growth of the residual, of which `retrain/leverage.py` tells.
        """
        risks, found = removed_risks(self.risk), dict[int, float]()
        for part in points_of(self.cache.parts(removals), MAX_BATCH):
            models = models_of(self.theta, part)
            before, after = (
                risks.removed_sums(1, thetas, part.removals).norm(dim=1)
                for thetas in (self.theta.expand_as(models), models)
            )
            grown = torch.where(before > 0, after / before, 1.0).clamp_min(1.0)
            found |= {one: float(factor) for (one,), factor in zip(part.removals, grown, strict=True)}
        return found

    def certificate_per_norm(self, x_test: TestFeatures) -> Float[Tensor, " t"]:
        """The longest test gradient of any class, times the largest distance per unit of a gradient norm."""
        ratio = max(
            (float((part.distance_bounds / part.gradient_norms).max()) for part in self.cache.parts()),
            default=float("inf"),
        )
        classes = {int(found) for found in self.risk.predict(self.theta, x_test)}
        longest = self.theta.new_zeros(len(x_test))
        for found in classes:
            labels = torch.full((len(x_test),), found, device=self.theta.device)
            norms = self.risk.loss_gradient(self.theta, x_test, labels).norm(dim=1)
            longest = torch.maximum(longest, norms)
        return ratio * longest

    @cached_property
    def _problem(self) -> LocalProblem:
        """
        Raises:
            LeaveOneOutError: θ̂ is no strict minimum.
        """
        try:
            return local_problem(self.risk, self.theta)
        except NoMinimumError as error:
            raise LeaveOneOutError(str(error)) from error

    def _fits(self) -> int:
        """As many models as a quarter of the free memory holds, with L-BFGS pairs and Lanczos vectors."""
        free = psutil.virtual_memory().available
        model_bytes = 8 * (2 * MEMORY + MOST_LANCZOS + 16) * self.risk.num_parameters + 2**20
        return int(min(MAX_BATCH, max(1, free // (4 * self.group.ranks_here * model_bytes))))

    def _solved(self, batch: Batch, tally: Tally) -> RetrainedWeights:
        problem, removals, tolerance = self._problem, batch.removals, self.settings.tolerance
        start = self._stored(removals) if batch.stored else influence_step(problem, removals)
        shares = torch.ones_like(start[:, 0])
        solved = solve(
            problem, Models(removals, shares, shares * AIM * tolerance), start, tally.note, alone=True
        )
        tally.say("certifying", len(removals))
        ends = surroundings(problem, removals, solved.differences, shares, solved.gradients)
        labelled = label(problem, removals, ends, AIM * tolerance)
        certificate = labelled.ends.certificates(shares)
        distances = certificate.distances / problem.factor.smallest**0.5
        return RetrainedWeights(
            removals=removals,
            differences=labelled.ends.differences[:, None].cpu().numpy(),
            gradient_norms=labelled.ends.norms.cpu().numpy(),
            distance_bounds=distances.cpu().numpy(),
            passes=solved.passes.cpu().numpy(),
            tolerances=np.full(len(removals), tolerance),
            local=LocalFacts(
                labels=labelled.labels.cpu().numpy(),
                margins=certificate.margins.cpu().numpy(),
                path_margins=labelled.margins.cpu().numpy(),
                path_points=labelled.points.cpu().numpy(),
                curvatures=labelled.ends.curvatures.cpu().numpy(),
                lipschitz=labelled.ends.lipschitz.cpu().numpy(),
            ),
        )

    def _stored(self, removals: tuple[Removal, ...]) -> Float[Tensor, "B p"]:
        """Δ as a looser tolerance left it."""
        found = {
            rows: part.differences[place, 0]
            for part in self.cache.parts(removals)
            for place, rows in enumerate(part.removals)
        }
        return torch.from_numpy(np.stack([found[rows] for rows in removals])).to(self.theta)
