"""Some iterations of L-BFGS, as scipy has it: far and fast, though not to the last digit of a gradient."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from erm.risk import EmpiricalRisk

SEGMENT = 100
"""Iterations at a time, after which it begins with an empty memory: what follows depends on θ alone."""
MEMORY = 30


@dataclass(frozen=True, eq=False)
class Point:
    """θ and what one pass over the data says of it."""

    theta: Float[Tensor, " p"]
    value: float
    gradient: Float[Tensor, " p"]
    norm: float


def evaluated(risk: EmpiricalRisk, theta: Float[Tensor, " p"]) -> Point:
    """By one pass."""
    value, gradient = risk.value_and_gradient(theta)
    return Point(theta, float(value), gradient, float(gradient.norm()))


def descended(
    evaluate: Callable[[Float[Tensor, " p"]], Point], start: Point, *, evaluations: int, norm: float
) -> Point:
    """The lowest point that a segment of L-BFGS meets, at most `start`.

    Args:
        norm: of the gradient, at which it ends before.
    """
    # It takes longer to import than most fits take, and most fits do without.
    from scipy.optimize import minimize

    lowest = start

    def both(theta: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        nonlocal lowest
        there = evaluate(torch.from_numpy(theta.copy()).to(start.theta))
        if there.value <= lowest.value:
            lowest = there
        return there.value, there.gradient.cpu().numpy()

    limits = {"maxiter": SEGMENT, "maxfun": evaluations, "maxcor": MEMORY}
    # The largest entry of a gradient is at least its norm over √p. Values of R end nothing.
    ends = {"ftol": 0.0, "gtol": norm / math.sqrt(len(start.theta))}
    options: Any = limits | ends
    minimize(both, start.theta.cpu().numpy(), jac=True, method="L-BFGS-B", options=options)
    return lowest
