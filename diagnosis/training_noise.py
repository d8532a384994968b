"""Where training is stochastic: does its randomness move the test loss less than a removal does?"""

from diagnosis.limits import TRAINING_NOISE
from diagnosis.verdict import Verdict


def check_training_noise(change: float, largest_effect: float, fit: str = "newton") -> Verdict:
    """Compare what another order of the examples does to the test loss with what a removal should do.

    Args:
        change: of the test loss between two trainings that differ in their seed alone, nothing removed.
        largest_effect: the largest predicted change when one example is removed.
        fit: which one ends at a minimum of such a model.
    """
    numbers = {"change_with_another_seed": change, "largest_effect": largest_effect}
    moved = f"trained again with another seed and nothing removed, the test loss moves by {abs(change):.1e}"
    if not largest_effect > 0:
        return Verdict(
            check="training noise",
            passed=None,
            evidence=f"{moved}; no removal is predicted to, so there is nothing to hold that against",
            numbers=numbers,
        )
    ratio = abs(change) / largest_effect
    passed = ratio <= TRAINING_NOISE
    return Verdict(
        check="training noise",
        passed=passed,
        evidence=(
            f"{moved}; the largest predicted effect of a removal is {largest_effect:.1e}, so the noise of "
            f"retraining is {ratio:.2g} times the effect"
        ),
        remedy="" if passed else f"retrain to a gradient norm, not for a number of steps: fit={fit}",
        numbers=numbers | {"ratio": ratio},
    )
