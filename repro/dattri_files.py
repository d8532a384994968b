"""The layout in which dattri publishes ground truth: `{loo,lds}/{indices,target_values}_{loo,lds}.pt`.

`dattri.metric` takes the pair (target_values, indices). For loo the values are losses ℓ(z_test, θ̂₋ᵢ) and the
indices the rows left out; for lds the values are −ℓ(z_test, θ̂₋S) and the indices the rows kept, so that in
both a training point that helps has a positive score. A bound on the error of each value stands beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.files import write_atomically
from repro.errors import UsageError
from retrain.changes import Changes
from retrain.removal import Removal

TEST_POINTS = "test_indices.pt"


@dataclass(frozen=True, kw_only=True)
class DattriTruth:
    """One metric's ground truth; a row per model, a column per test point."""

    metric: str
    """loo or lds."""
    indices: Int[Tensor, "..."]
    """(m,) rows left out for loo, (m, kept) rows kept for lds."""
    target_values: Float[Tensor, "m t"]
    certificates: Float[Tensor, "m t"]
    """Proven bounds on the error of `target_values`, less that of the loss at θ̂, which shifts all alike."""


def dattri_truth(
    truth: Changes, losses: Float[np.ndarray, " t"], num_train: int, halves: list[Removal]
) -> list[DattriTruth]:
    """Ground truth of single points and of the models of `halves`; none of what there is none of.

    Args:
        truth: actual changes.
        losses: ℓ(z_test, θ̂).
        num_train: n.
        halves: removals of one size, as dattri's indices are a rectangle.
    """
    single: list[Removal] = [rows for rows in truth.removals if len(rows) == 1]
    everyone = np.arange(num_train)
    kept = [np.delete(everyone, list(rows)) for rows in halves]
    found = []
    if single:
        found.append(_metric("loo", truth, losses, single, [rows[0] for rows in single], sign=1.0))
    if halves:
        found.append(_metric("lds", truth, losses, halves, kept, sign=-1.0))
    return found


def _metric(
    metric: str,
    truth: Changes,
    losses: Float[np.ndarray, " t"],
    removals: list[Removal],
    indices: Sequence[int | np.ndarray],
    sign: float,
) -> DattriTruth:
    column_of = {rows: column for column, rows in enumerate(truth.removals)}
    columns = [column_of[rows] for rows in removals]
    values = sign * (truth.actual_change[:, columns] + losses[:, None])
    return DattriTruth(
        metric=metric,
        indices=torch.from_numpy(np.array(indices, dtype=np.int64)),
        target_values=torch.from_numpy(np.ascontiguousarray(values.T)),
        certificates=torch.from_numpy(np.ascontiguousarray(truth.bound[:, columns].T)),
    )


def halves_of(removals: list[Removal], num_train: int) -> list[Removal]:
    """Those that leave out half of the rows, rounded either way."""
    sizes = {num_train // 2, num_train - num_train // 2} - {1}
    found = [rows for rows in removals if len(rows) in sizes]
    # With an odd n both sizes may be there; dattri's indices are a rectangle.
    return [rows for rows in found if len(rows) == len(found[0])]


def check_one_size(removals: list[Removal]) -> None:
    """Refuse groups of several sizes.

    Raises:
        UsageError: dattri's indices are a rectangle.
    """
    sizes = sorted({len(rows) for rows in removals})
    if len(sizes) > 1:
        raise UsageError(
            "--format dattri: its files hold subsets of one size, and these removals have "
            f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}: choose removals=halves"
        )


def check_folder(out: Path) -> None:
    """Refuse a name that cannot be a folder, before any work.

    Raises:
        UsageError: it is that of a file.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: a file of that name is there; dattri's layout is a folder")


def write_dattri(found: list[DattriTruth], targets: list[int], out: Path) -> None:
    """Write the folder; `test_indices.pt` says which test point each column is of."""
    for one in found:
        for name in ("indices", "target_values", "certificates"):
            _save(getattr(one, name), out / one.metric / f"{name}_{one.metric}.pt")
    _save(torch.tensor(targets), out / TEST_POINTS)


def _save(values: Tensor, path: Path) -> None:
    write_atomically(path, lambda temporary: torch.save(values, temporary))
