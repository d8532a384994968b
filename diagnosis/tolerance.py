"""Which `retrain.tolerance` tells the effects of a figure from 0, if any does?"""

import math

import numpy as np
from jaxtyping import Float

from diagnosis.limits import UNDECIDED

FINEST = 1e-12
"""Below this a gradient norm is rounding on most problems, and a tolerance cannot be reached."""


def tolerance_that_tells(
    actual: Float[np.ndarray, " k"],
    certificate: Float[np.ndarray, " k"],
    gradient_norm: Float[np.ndarray, " k"],
    certificate_per_norm: float,
) -> float | None:
    """The largest power of ten at which enough effects exceed their certificates for a figure to be judged.

    A certificate is certificate_per_norm · ‖∇R₋ᵢ‖ and a rest of rounding and of θ̂, which stays.

    Args:
        actual: actual changes.
        certificate: bounds on their errors.
        gradient_norm: ‖∇R₋ᵢ‖ of their models.
        certificate_per_norm: √2‖x_test‖/λ.

    Returns:
        The tolerance; None where the rest alone hides the effects, or only one below `FINEST` would do.
    """
    if not 0 < certificate_per_norm < math.inf or not len(actual):
        return None
    rest = certificate - certificate_per_norm * gradient_norm
    room = np.sort((np.abs(actual) - rest) / certificate_per_norm)
    # Half of it, because an effect must exceed its certificate; the allowed share may stay undecided.
    wanted = float(room[math.floor(UNDECIDED * len(room))]) / 2
    if not wanted >= FINEST:
        return None
    return float(f"1e{math.floor(math.log10(wanted))}")
