"""Actual changes: what every retrainer finds of test losses."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrain.removal import NOTHING, Removal

TestFeatures = Float[Tensor, "t features"]
"""Test examples, without bias column."""
TestLabels = Int[Tensor, " t"]
PROVEN = "proven"
"""Of a change whose certificate has no condition."""
CONTINUED = "continued"
"""There, a model that is no minimum: training went on without the rows, and nothing vouches for it."""
QUADRATIC = "quadratic"
"""There, the minimiser of the quadratic around θ̃: a closed form, certified up to rounding."""
NO_BASIN = (PROVEN, CONTINUED, QUADRATIC)
"""Labels of models of which it is no question whether they are θ̂'s own minimum."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """ℓ(z_test, θ̂₋S) − ℓ(z_test, θ̂) for t test points and B removals, cross-entropy alone."""

    removals: tuple[Removal, ...]
    """Ascending; the null control, if there, is the first."""
    actual_change: Float[np.ndarray, "t B"]
    certificate: Float[np.ndarray, "t B"] | None
    """Proven bound on the error of `actual_change`: both models' distances from their minimisers, and all
    rounding. None where the retrainer proves none. Where there are `margins`, it is a local certificate."""
    labels: tuple[str, ...] | None = None
    """Whether each is θ̂'s own minimum, of `retrain.continuation.LABELS`; None where there is but one."""
    margins: Float[np.ndarray, " B"] | None = None
    """How many times faster than measured the Hessian may change, and a local certificate still holds."""

    @property
    def truth(self) -> tuple[str, ...]:
        """How each is known, in a word: `PROVEN`, or its label."""
        return self.labels or (PROVEN,) * len(self.removals)

    @property
    def margin(self) -> Float[np.ndarray, " B"]:
        """The margins; NaN where no condition is attached."""
        return np.full(len(self.removals), np.nan) if self.margins is None else self.margins

    @property
    def bound(self) -> Float[np.ndarray, "t B"]:
        """The certificate; infinite where nothing is proven."""
        return np.full_like(self.actual_change, np.inf) if self.certificate is None else self.certificate

    @property
    def null_control(self) -> int:
        """The column of the removal of nothing.

        Raises:
            ValueError: it is not there.
        """
        return self.removals.index(NOTHING)

    @property
    def is_point(self) -> Bool[np.ndarray, " B"]:
        """Which columns leave out a single row."""
        return np.array([len(rows) == 1 for rows in self.removals], dtype=bool)

    @property
    def points(self) -> Int[np.ndarray, " m"]:
        """The rows of those columns."""
        return np.array([rows[0] for rows in self.removals if len(rows) == 1], dtype=np.int64)
