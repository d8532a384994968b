"""Which minima the models of a table are, and how much their certificates take for granted, in numbers."""

from dataclasses import dataclass

import pandas as pd

from plots.numbers import format_number
from retrain.changes import NO_BASIN
from retrain.continuation import LEFT, SAME, UNDECIDED


@dataclass(frozen=True, kw_only=True)
class Basins:
    """Of the models of one test point, whose certificates are local."""

    same_basin: int
    """Models that are the minimum that θ̂ becomes: r, slope and error are over these."""
    left_it: int
    undecided: int
    smallest_margin: float
    """So many times faster than measured the Hessian may change, and every certificate still holds."""

    @property
    def words(self) -> str:
        """Which minima the models are, and what their certificates take for granted."""
        others = {"left it": self.left_it, "undecided": self.undecided}
        rest = "".join(f", {count} {name}" for name, count in others.items() if count)
        return (
            f"models that are θ̂'s own minimum, continued: {self.same_basin}{rest}; the statistics are over "
            f"these {self.same_basin}\ncertificates are local: they hold unless the Hessian changes "
            f"{format_number(self.smallest_margin)} times faster than measured"
        )


def basins_of(table: pd.DataFrame) -> Basins | None:
    """Of the rows of one test point, single points or groups; None where certificates have no condition."""
    key = "train_index" if "train_index" in table else "removal"
    if "truth" not in table or table["truth"].isin(NO_BASIN).all():
        return None
    models = table.drop_duplicates(key)
    counts = models["truth"].value_counts()
    return Basins(
        same_basin=int(counts.get(SAME, 0)),
        left_it=int(counts.get(LEFT, 0)),
        undecided=int(counts.get(UNDECIDED, 0)),
        smallest_margin=float(models["margin"].min()),
    )
