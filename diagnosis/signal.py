"""Are the effects in the figure larger than what the ground truth may be off by?"""

import numpy as np
from jaxtyping import Float

from diagnosis.verdict import Verdict

MAX_NOISE = 0.01
"""Share of the largest effect that training may be off by at random."""


def check_signal(
    effects: Float[np.ndarray, " k"],
    certificates: Float[np.ndarray, " k"],
    null_control: float,
) -> Verdict:
    """Compare actual changes with their own certificates and with the null control.

    Args:
        effects: actual changes of the points that a figure shows, the weakest among them.
        certificates: bounds on their errors.
        null_control: the change that removing nothing showed.
    """
    sizes = np.abs(effects)
    undecided = int((sizes <= certificates).sum())
    smallest, largest = float(sizes.min()), float(certificates.max())
    return Verdict(
        check="signal",
        passed=undecided == 0,
        evidence=(
            f"{len(effects)} points with effects of {smallest:.1e} to {float(sizes.max()):.1e}; largest "
            f"certificate {largest:.1e}, null control {abs(null_control):.1e}"
        ),
        remedy=""
        if not undecided
        else f"{undecided} points cannot be told from 0: lower retrain.tolerance, or influence.top_k",
        numbers={
            "smallest_effect": smallest,
            "largest_certificate": largest,
            "null_control": null_control,
            "undecided": undecided,
        },
    )


def check_training_noise(change: float, largest_effect: float) -> Verdict:
    """Compare what another order of the examples does to the test loss with what a removal should do.

    Args:
        change: of the test loss between two trainings that differ in their seed alone, nothing removed.
        largest_effect: the largest predicted change when one example is removed.
    """
    ratio = abs(change) / largest_effect
    passed = ratio <= MAX_NOISE
    return Verdict(
        check="signal",
        passed=passed,
        evidence=(
            f"trained again with another seed and nothing removed, the test loss moves by {abs(change):.1e}; "
            f"the largest predicted effect of a removal is {largest_effect:.1e}, so the noise of retraining "
            f"is {ratio:.2g} times the effect"
        ),
        remedy="" if passed else "retrain to a gradient norm, not for a number of steps: fit=newton",
        numbers={"change_with_another_seed": change, "largest_effect": largest_effect},
    )
