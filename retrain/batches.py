"""Which leave-one-out models this rank solves, in which batches, and where those begin that are not new."""

from dataclasses import dataclass

import psutil
import torch
from jaxtyping import Float64
from torch import Tensor

from retrain.distributed import from_every_rank, num_ranks, rank, ranks_here
from retrain.path import MEMORY
from retrain.removal import CHUNK_ROWS, RemovalProblem
from retrain.weights import WeightCache

MAX_BATCH = 512
"""Models a batch at the most: products of more are no faster, and a kill loses one batch."""


@dataclass(frozen=True, kw_only=True)
class CacheState:
    """What the caches of all ranks hold before any of them writes: the same on every rank."""

    settled: set[int]
    """Models that need not be solved."""
    loose: set[int]
    """Models that a looser tolerance left, and that every rank which may go on with them can read."""


def cache_state(cache: WeightCache, tolerance: float, *, sharded: bool) -> CacheState:
    """Ask all ranks what they have. Where they work on the same models, the first one's folder counts."""
    states = from_every_rank((cache.settled_indices(tolerance), cache.indices()))
    stored = [indices for _, indices in states]
    settled = set[int]().union(*(found for found, _ in states))
    readable = stored[0] if sharded else stored[0].intersection(*stored[1:])
    return CacheState(settled=settled, loose=readable - settled)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Models that are solved together: all from θ̂, or all from where a looser tolerance left them."""

    indices: list[int]
    stored: bool


def own_batches(
    problem: RemovalProblem, wanted: list[int], state: CacheState, batch_size: int | None
) -> list[Batch]:
    """The batches that this rank has to solve.

    They follow from everything that is wanted, and what is settled is left out only then: so the batches that
    a killed run had not finished are composed as they would have been, and end at the same bits.
    """
    ranks = 1 if problem.sharded else num_ranks()
    size = min(from_every_rank(batch_size or batch_size_that_fits(problem)))
    composed = [
        Batch(indices=indices, stored=stored)
        for batch in _batches(wanted, size, multiple_of=ranks)
        for stored in (False, True)
        if (indices := [i for i in batch if i not in state.settled and (i in state.loose) == stored])
    ]
    return composed if problem.sharded else composed[rank() :: num_ranks()]


def stored_differences(problem: RemovalProblem, batch: Batch, cache: WeightCache) -> Float64[Tensor, "B K d"]:
    """Δ of a batch as a looser tolerance left it; with shared examples as the first rank has it."""
    differences = torch.zeros(
        len(batch.indices), problem.num_classes, problem.num_features, dtype=torch.float64
    )
    active, row_of = problem.active.cpu(), {index: row for row, index in enumerate(batch.indices)}
    if not problem.sharded or rank() == 0:
        for part in cache.parts(batch.indices):
            rows = [row_of[index] for index in part.indices.tolist()]
            differences[rows] = torch.from_numpy(part.differences)[:, :, active]
    return problem.agree(differences.to(problem.x.device))


def _batches(wanted: list[int], size: int, multiple_of: int) -> list[list[int]]:
    """Consecutive batches of near-equal length, none longer than `size`, so many that ranks share evenly."""
    count = -(-len(wanted) // (size * multiple_of)) * multiple_of
    return [wanted[len(wanted) * k // count : len(wanted) * (k + 1) // count] for k in range(count)]


def batch_size_that_fits(problem: RemovalProblem) -> int:
    """As many models as a quarter of the free memory holds, shared with the other ranks of this machine."""
    if problem.x.device.type == "cuda":
        free, ranks = torch.cuda.mem_get_info(problem.x.device)[0], 1
    else:
        free, ranks = psutil.virtual_memory().available, ranks_here()
    size = problem.num_classes * problem.num_features
    # Δ, gradient, step and their copies, the L-BFGS pairs, and the logits of a chunk; all in float64.
    model_bytes = 8 * ((2 * MEMORY + 8) * size + CHUNK_ROWS * problem.num_classes)
    return int(min(MAX_BATCH, max(1, free // (4 * ranks * model_bytes))))
