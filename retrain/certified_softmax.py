"""The retrainer of softmax regression: all models solved together, each certified, and cached."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from erm.softmax import SoftmaxRisk
from parallel.group import ALONE, Group
from retrain.certificate import loss_error_bound
from retrain.changes import Changes
from retrain.ground_truth import ground_truth
from retrain.leverage import amplification
from retrain.recheck import Rechecked, recheck
from retrain.removal import Removal
from retrain.retrainer import SolvedModels, solved_models
from retrain.schedule import solve_missing
from retrain.settings import RetrainingProgress, RetrainSettings, SolvedNow
from retrain.weights import WeightCache


@dataclass(frozen=True, kw_only=True)
class CertifiedSoftmax:
    """A `Retrainer` whose every actual change has a certificate.

    Args:
        risk: the empirical risk over all training examples.
        theta: its minimiser θ̂.
        cache: where finished models lie.
        settings: how those that are missing are solved.
        group: the ranks that share the work of `solve`; what else is asked, the first one answers.
    """

    risk: SoftmaxRisk
    theta: Float[Tensor, " p"]
    cache: WeightCache
    settings: RetrainSettings
    group: Group = ALONE

    @property
    def description(self) -> str:
        return f"softmax regression with {self.risk.num_parameters:,} parameters, λ = {self.risk.l2:g}"

    def solve(self, removals: Iterable[Removal], report: Callable[[RetrainingProgress], None]) -> SolvedNow:
        """Over all ranks: see `retrain.schedule.solve_missing`.

        Raises:
            LeaveOneOutError: without L2 no minimiser can be certified.
        """
        return solve_missing(self.risk, self.theta, removals, self.cache, self.settings, report, self.group)

    def models(self, removals: Collection[Removal] | None = None) -> SolvedModels:
        return solved_models(self.cache.parts(removals))

    def changes(
        self,
        x_test: Float[Tensor, "t features"],
        y_test: Int[Tensor, " t"],
        removals: Collection[Removal] | None = None,
    ) -> Changes:
        labels = y_test.to(self.risk.x.device)
        return ground_truth(self.risk, self.theta, self.cache.parts(removals), x_test, labels)

    def recheck(
        self, x_test: Float[Tensor, "t features"], y_test: Int[Tensor, " t"], removals: Collection[Removal]
    ) -> Iterator[Rechecked]:
        """By plain formulas: see `retrain.recheck.recheck`; a file of the cache at a time."""
        for part in self.cache.parts(removals):
            yield recheck(
                self.risk, self.theta, part, x_test, y_test, scales_l2=self.settings.l2_scaling == "sum"
            )

    def amplification(self, removals: Collection[Removal] | None = None) -> dict[int, float]:
        return amplification(self.risk, self.theta, self.cache.parts(removals))

    def certificate_per_norm(self, x_test: Float[Tensor, "t features"]) -> Float[Tensor, " t"]:
        """√2‖x‖/λ; a removal's λ is this or larger."""
        features = self.risk.features(x_test).double()
        return loss_error_bound(features, features.new_tensor([1 / self.risk.l2]))[:, 0]
