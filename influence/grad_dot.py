"""The baseline without curvature: influence as a plain inner product of gradients."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature
from influence.solution import Progress, Solution, Solve, Status, check_right_hand_side


@dataclass(frozen=True, kw_only=True, slots=True)
class GradDot:
    """H replaced by the identity: s = v."""

    def at(self, curvature: Curvature, progress: Progress | None = None) -> Solve:
        """Nothing to prepare; the curvature is not looked at."""

        def solve(v: Float[Tensor, " p"]) -> Solution:
            check_right_hand_side(v)
            return Solution(
                value=v,
                status=Status.FINISHED,
                message="H replaced by the identity: s is the test gradient itself",
            )

        return solve
