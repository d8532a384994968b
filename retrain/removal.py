"""A removal: which training rows a model is fitted without.

R₋S is the mean over the other n − |S| examples, λ unchanged. One point is the removal of length 1; the empty
removal is the null control, whose minimiser is θ̂ itself.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

Removal = tuple[int, ...]
"""Training rows, ascending, each once: what `removal` returns."""
NOTHING: Removal = ()
"""The null control."""


def removal(rows: Iterable[int], num_examples: int) -> Removal:
    """These training rows as a removal.

    Args:
        rows: in any order.
        num_examples: n; rows are 0 … n − 1.

    Raises:
        ValueError: a row is named twice or is none of the training rows, or nothing would be left.
    """
    found = tuple(sorted(rows))
    if len(set(found)) < len(found):
        twice = next(row for row, after in pairwise(found) if row == after)
        raise ValueError(f"a removal names training row {twice} twice")
    if found and not 0 <= found[0] <= found[-1] < num_examples:
        wrong = found[0] if found[0] < 0 else found[-1]
        raise ValueError(f"a removal names training row {wrong}: expected 0 … {num_examples - 1}")
    if found and len(found) == num_examples:
        raise ValueError(f"a removal of all {num_examples} training rows leaves nothing to fit")
    return found


def leave_one_out(rows: Iterable[int]) -> list[Removal]:
    """One removal per row."""
    return [(int(row),) for row in rows]


@dataclass(frozen=True)
class RemovalBatch:
    """Removals whose models are solved together, as tensors index them."""

    removals: tuple[Removal, ...]
    device: torch.device
    residual_sums: Float64[Tensor, "B K d"] | None = None
    """What `RemovalProblem.prepared` found, of those of several rows."""

    def __len__(self) -> int:
        return len(self.removals)

    @cached_property
    def sizes(self) -> Float64[Tensor, " B"]:
        """|S| of each."""
        sizes = [len(rows) for rows in self.removals]
        return torch.tensor(sizes, dtype=torch.float64, device=self.device)

    @cached_property
    def points(self) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
        """The removals of one row: their places in the batch, and the rows."""
        places = [place for place, rows in enumerate(self.removals) if len(rows) == 1]
        return self._tensor(places), self._tensor([self.removals[place][0] for place in places])

    @cached_property
    def groups(self) -> list[tuple[int, Int[Tensor, " s"]]]:
        """The removals of several rows: the place of each in the batch, and its rows."""
        return [(place, self._tensor(rows)) for place, rows in enumerate(self.removals) if len(rows) > 1]

    def kept(self, num_rows: int) -> Bool[Tensor, "n B"]:
        """Which rows a model keeps: all but those that a removal of several rows takes.

        A removal of one row takes none here: its row is subtracted from the sum over all.
        """
        mask = torch.ones(num_rows, len(self), dtype=torch.bool, device=self.device)
        for place, members in self.groups:
            mask[members, place] = False
        return mask

    def take(self, places: Int[Tensor, " b"]) -> "RemovalBatch":
        """Some of these removals."""
        if len(places) == len(self) and places.tolist() == list(range(len(self))):
            return self
        sums = None if self.residual_sums is None else self.residual_sums[places]
        return RemovalBatch(tuple(self.removals[place] for place in places.tolist()), self.device, sums)

    def within(self, rows: slice) -> "RemovalBatch":
        """Of each removal the part among these rows, counted from the first of them."""
        first, last = rows.start, rows.stop
        return RemovalBatch(
            tuple(
                tuple(row - first for row in found[bisect_left(found, first) : bisect_left(found, last)])
                for found in self.removals
            ),
            self.device,
        )

    def _tensor(self, numbers: Sequence[int]) -> Int[Tensor, " m"]:
        return torch.tensor(numbers, dtype=torch.int64, device=self.device)
