"""Who solves which model: what the caches lack, in batches, shared out over ranks, whatever retrains.

Every finished batch is written at once, so a killed run goes on where it was. Machines may share no disk: in
the end rank 0 has every file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from erm.files import write_atomically
from parallel.collectives import all_gather_object, barrier, broadcast_object, receive_bytes, send_bytes
from parallel.group import ALONE, Group
from retrain.batches import Batch, cache_state, own_batches
from retrain.removal import Removal
from retrain.settings import PassTotal, RetrainingProgress, SolvedNow
from retrain.solution import PassReport
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache


@dataclass(kw_only=True)
class Tally:
    """How far this rank's share of the work is, and how its models came down, while it is told."""

    report: Callable[[RetrainingProgress], None]
    total: int
    """Models of this rank."""
    done: int = 0
    trace: dict[int, PassTotal] = field(default_factory=dict)
    last_pass: PassReport | None = None

    def say(self, stage: str, converged: int = 0, last_pass: PassReport | None = None) -> None:
        self.report(
            RetrainingProgress(
                stage=stage,
                models_done=self.done + converged,
                models_total=self.total,
                last_pass=last_pass,
            )
        )

    def note(self, found: PassReport) -> None:
        """Enter a pass into the trace, and tell of it."""
        self.last_pass = found
        _, worst, models = self.trace.get(found.number, (0, 0.0, 0))
        worst = max(worst, found.max_gradient_norm)
        self.trace[found.number] = found.number, worst, models + found.num_models
        self.say("solving", found.num_converged, found)


SolveBatch = Callable[[Batch, Tally], RetrainedWeights]
"""Finds the models of a batch, and tells the tally how they come down."""
Prepare = Callable[[tuple[Removal, ...]], tuple[int, SolveBatch]]
"""Makes, of the removals that are missing, what all batches share: how many models fit into one, and who
solves it. Not called where nothing is missing."""


def solve_in_batches(
    wanted: Sequence[Removal],
    cache: WeightCache,
    aim: float,
    prepare: Prepare,
    report: Callable[[RetrainingProgress], None],
    group: Group,
    *,
    stages: tuple[str, str],
    sharded: bool,
) -> SolvedNow:
    """Solve, over all ranks, the models that the caches lack; write each batch.

    Args:
        wanted: what to fit without, ascending, the same on every rank.
        cache: where finished models lie; ranks of one machine share it, and in the end rank 0's holds all.
        aim: ‖∇R₋S‖ from which a stored model need not be solved again.
        stages: what is said while it prepares, and while it solves.
        sharded: whether all ranks work on the same models, of which the first one then keeps the files.

    Returns:
        The models that all ranks had to solve, and how this rank's came down.
    """
    state = cache_state(cache, aim, group, sharded=sharded)
    missing = tuple(rows for rows in wanted if rows not in state.settled)
    trace: tuple[PassTotal, ...] = ()
    if missing:
        report(RetrainingProgress(stage=stages[0], models_done=0, models_total=0))
        fits, solve = prepare(missing)
        size = min(all_gather_object(fits, group))
        batches = own_batches(wanted, state, size, ALONE if sharded else group)
        tally = Tally(report=report, total=sum(len(batch.removals) for batch in batches))
        for batch in batches:
            tally.say(stages[1])
            solved = solve(batch, tally)
            if group.is_first or not sharded:
                cache.write(solved)
            tally.done += len(batch.removals)
        tally.say(stages[1], last_pass=tally.last_pass)
        trace = tuple(tally.trace.values())
    _gather(cache, group)
    return SolvedNow(removals=missing, trace=trace)


def _gather(cache: WeightCache, group: Group) -> None:
    """Send rank 0 the files that its own folder lacks; ranks that share its folder send none.

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
