"""The pairs of one panel, taken from a table: what can be drawn, and what is only counted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from pandas import DataFrame

from plots.agreement import comparable


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """The pairs of one panel that can be drawn, all finite."""

    actual: Float[np.ndarray, " points"]
    predicted: Float[np.ndarray, " points"]
    certificate: Float[np.ndarray, " points"]
    predicted_stderr: Float[np.ndarray, " points"]
    predicted_certificate: Float[np.ndarray, " points"]
    """NaN where the prediction has none."""
    num_left_out: int
    """Pairs of which either change is NaN or infinite."""
    num_diverged: int
    """Those of them of which the prediction is."""
    other: Bool[np.ndarray, " points"]
    """Models that left θ̂'s basin, or may have: drawn hollow, and in no statistic."""

    @classmethod
    def from_table(cls, table: DataFrame) -> "Points":
        names = ("actual_change", "predicted_change", "certificate", "predicted_stderr")
        actual, predicted, certificate, stderr = (table[name].to_numpy(np.float64) for name in names)
        finite = np.isfinite(actual) & np.isfinite(predicted)
        # Tables of earlier versions have none.
        own = table.get("predicted_certificate")
        certified = np.full(len(table), np.nan) if own is None else own.to_numpy(np.float64)
        same = np.isin(np.arange(len(table)), comparable(table.reset_index(drop=True)).index)
        return cls(
            actual=actual[finite],
            predicted=predicted[finite],
            certificate=certificate[finite],
            predicted_stderr=stderr[finite],
            predicted_certificate=certified[finite],
            num_left_out=int((~finite).sum()),
            num_diverged=int((~np.isfinite(predicted)).sum()),
            other=~same[finite],
        )
