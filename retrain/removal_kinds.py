"""The removals that an experiment makes: a kind of them is a function that `removals` names by `_target_`.

It is called with keywords: its settings, and those of these that it has parameters for.

- `num_examples`: n, the training examples.
- `influence`: I_up,loss of all n, float64, of one method for one test point. A kind that takes it is asked
  once for each of these, and needs their predictions; any other is asked once, and needs none.
- `top_k`: how many the scatter is to show.

It returns removals: sorted tuples of training rows, one tuple for each model that is solved. A ValueError
that it raises ends the command with its message.
"""

from collections import Counter
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field

from erm.settings import Count, Seed
from retrain.removal import Removal

RandomCount = Annotated[Count, Field(description="how many")]
RandomSeed = Annotated[Seed, Field(description="of which")]
Indices = Annotated[
    list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="training points left out")
]


def influential(*, num_examples: int, influence: Float[np.ndarray, " n"], top_k: int) -> list[Removal]:
    """The `top_k` points of the largest |I_up,loss|, largest first; of equal ones the lower row first.

    Raises:
        ValueError: `top_k` is outside 1 … n, or an influence is NaN.
    """
    if not 1 <= top_k <= num_examples:
        raise ValueError(
            f"top_k={top_k}: there are {num_examples} training points; expected 1 … {num_examples}"
        )
    if np.isnan(influence).any():
        raise ValueError("cannot rank influences that hold NaN")
    return [(int(row),) for row in np.argsort(-np.abs(influence), kind="stable")[:top_k]]


def random_points(*, num_examples: int, count: RandomCount, seed: RandomSeed) -> list[Removal]:
    """`count` points, drawn uniformly without replacement, ascending.

    Raises:
        ValueError: there are fewer.
    """
    if count > num_examples:
        raise ValueError(
            f"removals.count={count}: there are {num_examples} training points; expected 1 … {num_examples}"
        )
    drawn = np.random.default_rng(seed).choice(num_examples, size=count, replace=False)
    return [(row,) for row in sorted(drawn.tolist())]


def all_points(*, num_examples: int) -> list[Removal]:
    """Every training point by itself."""
    return [(row,) for row in range(num_examples)]


def chosen_points(*, num_examples: int, indices: Indices) -> list[Removal]:
    """The points of these indices, each by itself, ascending.

    Raises:
        ValueError: there is no such point, or one is named twice.
    """
    twice = [row for row, times in Counter(indices).items() if times > 1]
    if twice:
        raise ValueError(f"removals.indices={min(twice)}: it is named twice; name each training point once")
    if max(indices) >= num_examples:
        raise ValueError(
            f"removals.indices={max(indices)}: there are {num_examples} training points; "
            f"expected 0 … {num_examples - 1}"
        )
    return [(row,) for row in sorted(indices)]
