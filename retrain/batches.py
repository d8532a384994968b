"""Which models this rank solves, in which batches, where new ones begin, and what rank 0 is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch
from jaxtyping import Float64
from torch import Tensor

from erm.files import write_atomically
from erm.pass_order import CHUNK_ROWS
from parallel.collectives import all_gather_object, barrier, broadcast_object, receive_bytes, send_bytes
from parallel.group import Group
from retrain.path import MEMORY
from retrain.problem import RemovalProblem
from retrain.removal import Removal
from retrain.weights import WeightCache

MAX_BATCH = 512
"""Models per batch at the most: products of more are no faster, and a kill loses one batch."""


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """What the caches of all ranks hold before any of them writes: the same on every rank."""

    settled: set[Removal]
    """Models that need not be solved."""
    loose: set[Removal]
    """Models that a looser tolerance left, and that every rank which may go on with them can read."""


def cache_state(cache: WeightCache, tolerance: float, group: Group, *, sharded: bool) -> CacheState:
    """Ask all ranks what they have. Where they work on the same models, the first one's folder counts."""
    states = all_gather_object((cache.settled_removals(tolerance), cache.removals()), group)
    stored = [removals for _, removals in states]
    settled = set[Removal]().union(*(found for found, _ in states))
    readable = stored[0] if sharded else stored[0].intersection(*stored[1:])
    return CacheState(settled=settled, loose=readable - settled)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Models that are solved together: all from θ̂, or all from where a looser tolerance left them."""

    removals: tuple[Removal, ...]
    stored: bool


def own_batches(wanted: Sequence[Removal], state: CacheState, size: int, group: Group) -> list[Batch]:
    """The batches that this rank of those that share out the models has to solve.

    They follow from everything that is wanted, and what is settled is left out only then: so the batches that
    a killed run had not finished are composed as they would have been, and end at the same bits.

    Args:
        wanted: all removals that are asked for, ascending.
        size: models per batch at the most, the same on every rank.
        group: the ranks that share out the models.
    """
    composed = [
        Batch(removals=removals, stored=stored)
        for batch in _batches_of_like_size(wanted, size, multiple_of=group.size)
        for stored in (False, True)
        if (
            removals := tuple(
                rows for rows in batch if rows not in state.settled and (rows in state.loose) == stored
            )
        )
    ]
    return composed[group.rank :: group.size]


def stored_differences(
    problem: RemovalProblem, batch: Batch, cache: WeightCache, *, reads: bool
) -> Float64[Tensor, "B K d"]:
    """Δ of a batch as a looser tolerance left it.

    Args:
        reads: whether this rank does; else it gets them by the problem's `broadcast`.
    """
    shape = len(batch.removals), problem.num_classes, problem.num_features
    differences = torch.zeros(shape, dtype=torch.float64)
    active, place_of = problem.active.cpu(), {rows: place for place, rows in enumerate(batch.removals)}
    if reads:
        for part in cache.parts(batch.removals):
            places = [place_of[rows] for rows in part.removals]
            differences[places] = torch.from_numpy(part.differences)[:, :, active]
    return problem.broadcast(differences.to(problem.x.device))


def _batches_of_like_size(wanted: Sequence[Removal], size: int, multiple_of: int) -> list[Sequence[Removal]]:
    """Single rows by themselves, and groups by how many rows they have: like models take as many passes."""
    points = [rows for rows in wanted if len(rows) <= 1]
    groups = sorted((rows for rows in wanted if len(rows) > 1), key=lambda rows: (len(rows), rows))
    return [*_batches(points, size, multiple_of), *_batches(groups, size, multiple_of)]


def _batches(wanted: Sequence[Removal], size: int, multiple_of: int) -> list[Sequence[Removal]]:
    """Consecutive batches of near-equal length, none longer than `size`, so many that ranks share evenly."""
    count = -(-len(wanted) // (size * multiple_of)) * multiple_of
    return [wanted[len(wanted) * k // count : len(wanted) * (k + 1) // count] for k in range(count)]


def batch_size_that_fits(problem: RemovalProblem, group: Group, *, pairs: int = MEMORY) -> int:
    """As many models as a quarter of the free memory holds, shared with the other ranks of this machine."""
    if problem.x.device.type == "cuda":
        free, ranks = torch.cuda.mem_get_info(problem.x.device)[0], 1
    else:
        free, ranks = psutil.virtual_memory().available, group.ranks_here
    size = problem.num_classes * problem.num_features
    # Δ, gradient, step and their copies, the L-BFGS pairs, and the logits of a chunk; all in float64.
    model_bytes = 8 * ((2 * pairs + 8) * size + CHUNK_ROWS * problem.num_classes)
    return int(min(MAX_BATCH, max(1, free // (4 * ranks * model_bytes))))


def gather_weights(cache: WeightCache, group: Group) -> None:
    """Send rank 0 the files that its own folder lacks, where machines share no disk; others send none.

    File names are checksums of their content, so equal names are equal files. In one process there is nothing
    to send.
    """
    # Nobody looks before everybody has written.
    barrier(group)
    names = all_gather_object([path.name for path in cache.files()], group)
    owners = {name: owner for owner in reversed(range(len(names))) for name in names[owner]}
    for name, owner in sorted(broadcast_object(owners, group).items()):
        if owner == 0:
            continue
        if group.rank == owner:
            send_bytes((cache.folder / name).read_bytes(), 0, group)
        elif group.is_first:
            write = partial(Path.write_bytes, data=receive_bytes(owner, group))
            write_atomically(cache.folder / name, write)
