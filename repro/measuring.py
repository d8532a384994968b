"""What a solver costs for one test point: from θ̂ to the predicted change of every training point."""

import statistics
import time
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature, EmpiricalRisk
from influence.scores import influence_scores
from influence.solution import Solution, Solver
from repro.errors import UsageError
from repro.user_code import solution_of

QUICK = 0.5
"""Seconds below which a measurement is repeated, up to `REPEATS` times."""
REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a solver found, the changes it predicts for all training points, and the seconds for both."""

    solution: Solution
    predicted_change: Float[Tensor, " n"] | None
    """None when the solver failed."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TestPointProblem:
    """One test point at one θ̂."""

    risk: EmpiricalRisk
    theta: Float[Tensor, " p"]
    v: Float[Tensor, " p"]
    """∇ℓ(z_test, θ̂)."""
    test_index: int

    def measure(self, solver: Solver) -> Measured:
        """From θ̂ to the predicted change of every training point, preparation included.

        What is quick is done again, and the median of its seconds taken: first calls are slow.
        """
        found = self._once(solver)
        seconds = [found.seconds]
        while sum(seconds) < QUICK and len(seconds) < REPEATS:
            seconds.append(self._once(solver).seconds)
        return replace(found, seconds=statistics.median(seconds))

    def _once(self, solver: Solver) -> Measured:
        started = time.perf_counter()
        curvature: Curvature = self.risk.curvature(self.theta)
        try:
            solution: Solution = solution_of(solver.at(curvature), self.v, type(solver).__name__)
        except ValueError as error:
            raise UsageError(str(error)) from error
        changes = None
        if not solution.status.failed:
            changes = influence_scores(self.risk, self.theta, solution).predicted_change
        return Measured(solution=solution, predicted_change=changes, seconds=time.perf_counter() - started)
