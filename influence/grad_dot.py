"""The baseline without curvature: influence as a plain inner product of gradients."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from erm.risk import Curvature
from influence.solution import Progress, Solution, Solve, Status, check_right_hand_side


@dataclass(frozen=True, kw_only=True, slots=True)
class GradDot:
    """H replaced by the identity: s = v."""

    baseline: ClassVar[bool] = True
    """It shows what H is good for, and is not meant to predict."""

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
