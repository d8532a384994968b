"""Does a prediction mean what retraining measures: no factor, no sign, no shift?"""

import numpy as np
from jaxtyping import Float

from diagnosis.verdict import Verdict

SLOPES = (0.8, 1.25)
"""First-order influence is short by the leverage of a point, a few per cent; factors are larger than that."""
MAX_SHIFT = 0.02
"""Of the largest actual change: a mixed 1/n or L2 convention shifts every prediction alike."""


def check_conventions(
    method: str, predicted: Float[np.ndarray, " k"], actual: Float[np.ndarray, " k"]
) -> Verdict:
    """Fit actual = slope · predicted + intercept through a few points that were predicted and retrained."""
    slope, intercept = (float(value) for value in np.polyfit(predicted, actual, 1))
    shift = abs(intercept) / float(np.abs(actual).max())
    passed = SLOPES[0] <= slope <= SLOPES[1] and shift <= MAX_SHIFT
    return Verdict(
        check=f"conventions of {method}",
        passed=passed,
        evidence=(
            f"{len(actual)} points, predicted and retrained: slope {slope:.3f}, intercept {intercept:.1e} "
            f"({shift:.1%} of the largest change)"
        ),
        remedy="" if passed else _explain(slope),
        numbers={"slope": slope, "intercept": intercept, "points": len(actual)},
    )


def _explain(slope: float) -> str:
    if slope < 0:
        return "the sign is turned: a removal is a step of −1/n, so the change is −I_up,loss/n"
    if SLOPES[0] <= slope <= SLOPES[1]:
        return "every prediction is shifted: keep the L2 inside the train gradient and out of the test loss"
    return (
        f"predictions are {1 / slope:.3g} times what happens: a forgotten 1/n, 1/scale or mean over "
        "repeats (LiSSA ends with h/scale), or a method that leaves H out"
    )
