"""The retrainer of the paper's section 4.2, for θ̃ that is no minimum: minimisers of quadratics around it.

L̃(z, θ) = L(z, θ̃) + ∇L(z, θ̃)ᵀδ + ½δᵀAδ with δ = θ − θ̃ and A = H + damping·I, the same for every z. So the
mean of L̃ over all rows but S is least at δ = −A⁻¹b, b = (n∇R − Σ_S ∇L(z, θ̃))/(n − |S|): one factor of A
serves all removals. Held against each other are real test losses at these minimisers, with S and without;
that of the whole quadratic is at δ = −A⁻¹∇R, and not at θ̃.

A model's gradient norm is that of the quadratic, ‖Aδ + b‖ by products with H, which is rounding. Over the
smallest eigenvalue of A it bounds the distance to the minimiser: a certificate of the arithmetic.
That the quadratic is the risk is not claimed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.lowest import Lowest, lowest_of_matrix
from retrain.batches import Batch
from retrain.changes import QUADRATIC, Changes, TestFeatures, TestLabels
from retrain.local_changes import local_changes, loss_changes, models_of
from retrain.recheck import Rechecked
from retrain.removal import NOTHING, Removal
from retrain.removed_risks import without_rows
from retrain.retrainer import LeaveOneOutError, Retrainer, SolveBatch
from retrain.settings import Tally
from retrain.weight_file import RetrainedWeights

MAX_BATCH = 128
"""Models side by side at the most."""
SAFETY = 1 - 1e-5
"""Of the smallest eigenvalue, which Lanczos finds to a millionth, from above."""


@dataclass(frozen=True, kw_only=True)
class QuadraticMinima(Retrainer):
    """A `Retrainer` of closed forms; its settings have the damping.

    It tells no amplification: every z has the same A, so a removal is its first order but for n/(n − 1). No
    tolerance narrows its certificates, which are rounding.
    """

    @property
    def description(self) -> str:
        return (
            f"the quadratic around θ̃ of a model of {self.risk.num_parameters:,} parameters, "
            f"λ = {self.risk.l2:g}, damping {self.damping:g}"
        )

    @property
    def damping(self) -> float:
        return self.settings.damping or 0.0

    def prepare(self, missing: tuple[Removal, ...]) -> tuple[int, SolveBatch]:
        return self.settings.batch_size or MAX_BATCH, self._solved

    def changes(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal] | None = None
    ) -> Changes:
        """Real test losses at each minimiser, less those at the minimiser of the whole quadratic.

        Nothing where that one, the null control, is not stored.
        """
        labels, control = y_test.to(self.theta.device), self._control()
        parts = iter(()) if control is None else self.cache.parts(removals)
        base = control or (self.theta, torch.inf)
        return local_changes(self.risk, self.theta, parts, base, x_test, labels, QUADRATIC)

    def recheck(
        self, x_test: TestFeatures, y_test: TestLabels, removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """The quadratic's gradient from the risk over the rows that are left, at the weights as stored."""
        labels, control = y_test.to(self.theta.device), self._control()
        nothing = self.theta if control is None else control[0]
        for part in self.cache.parts(removals):
            slopes = torch.stack(
                [without_rows(self.risk, rows).gradient(self.theta) for rows in part.removals]
            )
            differences = torch.from_numpy(part.differences[:, 0]).to(self.theta)
            norms, rounding = self._residuals(slopes, differences)
            stored = torch.from_numpy(part.gradient_norms).to(norms)
            bounds = torch.from_numpy(part.distance_bounds).to(norms)
            sound = ((norms - stored).abs() <= 2 * rounding) & (
                bounds * self._factor.value >= SAFETY * (stored + rounding)
            )
            yield Rechecked(
                removals=part.removals,
                gradient_norms=norms.cpu().numpy(),
                as_recorded=sound.cpu().numpy(),
                actual_change=loss_changes(self.risk, nothing, models_of(self.theta, part), x_test, labels),
            )

    @cached_property
    def _factor(self) -> Lowest:
        """The smallest eigenvalue of A, and its Cholesky factor.

        Raises:
            LeaveOneOutError: A is not positive definite.
        """
        matrix = self.risk.curvature(self.theta).matrix()
        matrix.diagonal().add_(self.damping)
        found = lowest_of_matrix(matrix)
        if found.factor is None:
            of_hessian = found.value - self.damping
            enough = max(-2 * of_hessian, 1e6 * found.resolution)
            raise LeaveOneOutError(
                "the quadratic around θ̃ has no minimum: the smallest eigenvalue of "
                f"H + {self.damping:g}·I is {found.value:.1e}. It has one with a damping above "
                f"{max(-of_hessian, 0.0):.2e}. Use retrain.damping={enough:.1g}, about twice that, and "
                f"influence.damping={enough:.1g} in a method that predicts it"
            )
        return found

    def _solved(self, batch: Batch, _: Tally) -> RetrainedWeights:
        removals = batch.removals
        lowest, slopes = self._factor, self._slopes(removals)
        assert lowest.factor is not None
        differences = -torch.cholesky_solve(slopes.T, lowest.factor).T
        norms, rounding = self._residuals(slopes, differences)
        return RetrainedWeights(
            removals=removals,
            differences=differences[:, None].cpu().numpy(),
            gradient_norms=norms.cpu().numpy(),
            distance_bounds=((norms + rounding) / (SAFETY * lowest.value)).cpu().numpy(),
            passes=np.ones(len(removals), dtype=np.int64),
            tolerances=np.full(len(removals), self.settings.tolerance),
        )

    def _slopes(self, removals: Sequence[Removal]) -> Float[Tensor, "B p"]:
        """b of each: the mean of ∇L(z, θ̃) over the rows that are left, L2 inside."""
        n, mean, found = self.risk.num_examples, self.risk.gradient(self.theta), list[Tensor]()
        for rows in removals:
            if rows:
                some = self.risk.subset(torch.tensor(rows, device=self.theta.device)).gradient(self.theta)
                found.append((n * mean - len(rows) * some) / (n - len(rows)))
            else:
                found.append(mean)
        return torch.stack(found)

    def _residuals(
        self, slopes: Float[Tensor, "B p"], differences: Float[Tensor, "B p"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """‖Aδ + b‖, and what its rounding may be: p·eps of the sizes that are summed."""
        images = self.risk.curvature(self.theta).product(differences) + self.damping * differences
        rounding = self.risk.num_parameters * torch.finfo(slopes.dtype).eps * slopes.norm(dim=1)
        # `resolution` is p·eps·‖A‖.
        return (images + slopes).norm(dim=1), rounding + self._factor.resolution * differences.norm(dim=1)

    def _control(self) -> tuple[Float[Tensor, " p"], float] | None:
        """The minimiser of the whole quadratic as stored, and the bound on its distance."""
        for part in self.cache.parts([NOTHING]):
            return models_of(self.theta, part)[0], float(part.distance_bounds[0])
        return None
