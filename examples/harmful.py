"""Removals of one's own: the training points that harm a test point most, as each method predicts it."""

import numpy as np
from jaxtyping import Float


def most_harmful(*, influence: Float[np.ndarray, " n"], count: int) -> list[tuple[int, ...]]:
    """The `count` points whose removal lowers the test loss most: those of largest I_up,loss.

    Args:
        influence: I_up,loss of all training points, of one method for one test point.
        count: how many.
    """
    return [(int(row),) for row in np.argsort(-influence, kind="stable")[:count]]
