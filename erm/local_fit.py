"""Fitting θ̂ of a risk that is not convex: to a point that is a minimum, by its gradient and its Hessian.

From the seeded start L-BFGS goes as far as it can, and Newton steps in a trust region to the tolerance. There
the smallest eigenvalue of H decides: above 0 the point is a minimum, below 0 a saddle, which is left along
the eigenvector, and all begins again lower down. What is undecided, or cannot be left, is said.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from erm.checkpoint import Checkpoint
from erm.fit import Fit, MaxPasses, Progress, Tolerance
from erm.local_search import LocalSearch
from erm.risk import EmpiricalRisk
from erm.settings import check_settings


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFit:
    """Settings of the fit to a local minimum.

    Args:
        tolerance: the fit has converged when ‖∇R(θ)‖₂ ≤ tolerance and the smallest eigenvalue of H is above
            0, beyond rounding.
        max_passes: passes over the data (gradients and Hessian-vector products; an explicit Hessian counts as
            one) before it gives up.

    Raises:
        ValueError: a setting is not positive.
    """

    tolerance: Tolerance = 1e-10
    max_passes: MaxPasses = 20000

    def __post_init__(self) -> None:
        check_settings(self, "fit")

    def __call__(
        self,
        risk: EmpiricalRisk,
        progress: Progress | None = None,
        start: Float[Tensor, " p"] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Fit:
        """Find a minimum of R.

        Args:
            risk: the empirical risk, in float64.
            start: where to begin; the risk's own starting point when None.
            checkpoint: what an interrupted fit has left, and where this one leaves its state. A fit that goes
                on from there ends where it would have without the interruption.
        """
        search = LocalSearch(risk, self.tolerance, self.max_passes, progress, checkpoint)
        return search.run(risk.initial_parameters() if start is None else start)
