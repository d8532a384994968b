"""What the axes of a panel show.

All panels of one test point share symmetric limits, so that slopes can be compared by eye. They come from
the actual changes and from every method on their scale. A method on another scale (a plain gradient product
is off by the curvature, a factor of 50 or more) would squash the others or be squashed itself: it alone gets
its own vertical limits. A factor of two, as from a wrong scale, stays on the shared limits, where it is seen
best. Test points do not share limits, because their losses may move on scales a hundred times apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

TOO_LARGE = 3.0
TOO_SMALL = 0.1
"""A method is on the scale of the actual changes when max |predicted| / max |actual| lies between these."""
MARGIN = 1.03
"""Keeps the outermost marker clear of the frame."""
NICE_NUMBERS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """A panel shows actual changes in ±actual and predicted changes in ±predicted."""

    actual: float
    predicted: float
    own: bool = False
    """Whether the vertical limits are this panel's own, so that the panel is not comparable by eye."""


def row_limits(
    actual: Sequence[Float[np.ndarray, " _"]],
    predicted: Sequence[Float[np.ndarray, " _"]],
    given: float | None = None,
) -> list[Limits]:
    """Limits of the panels of one test point.

    Args:
        actual: finite actual changes, one array a method.
        predicted: the predicted changes of the same points, finite too.
        given: shared limits to use instead of those from the data.
    """
    reference = max(map(_largest, actual), default=0.0)
    sizes = [_largest(values) for values in predicted]
    own = [not _on_scale(size, reference) for size in sizes]
    shared = given or nice_limit(
        max([reference, *(size for size, apart in zip(sizes, own, strict=True) if not apart)])
    )
    return [
        Limits(actual=shared, predicted=nice_limit(size) if apart else shared, own=apart)
        for size, apart in zip(sizes, own, strict=True)
    ]


def nice_limit(largest: float) -> float:
    """The smallest round number that leaves a margin around ±largest; 1 when there is nothing to show."""
    if largest == 0:
        return 1.0
    wanted = largest * MARGIN
    decade = 10.0 ** math.floor(math.log10(wanted))
    return next(nice for factor in NICE_NUMBERS if (nice := float(f"{factor * decade:.3g}")) >= wanted)


def tick(limit: float) -> float:
    """Where an axis of few ticks has them besides 0: at three fifths of ±limit, rounded to one digit."""
    return float(f"{0.6 * limit:.1g}")


def _on_scale(size: float, reference: float) -> bool:
    """Zeros fit any scale, and without an actual change there is no scale to be off."""
    return size == 0 or reference == 0 or TOO_SMALL <= size / reference <= TOO_LARGE


def _largest(values: Float[np.ndarray, " _"]) -> float:
    return float(np.abs(values).max(initial=0.0))
