"""Who solves which model: what the caches lack, in batches, shared out over ranks, whatever retrains.

Every finished batch is written at once, so a killed run goes on where it was.
"""

from collections.abc import Callable, Iterable

from parallel.collectives import all_gather_object
from parallel.group import ALONE, Group
from retrain.batches import Batch, cache_state, own_batches
from retrain.gather import gather_weights
from retrain.removal import Removal
from retrain.retrainer import with_null_control
from retrain.settings import PassTotal, RetrainingProgress, SolvedNow
from retrain.tally import Tally
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache

SolveBatch = Callable[[Batch, Tally], RetrainedWeights]
"""Finds the models of a batch, and tells the tally how they come down."""
Prepare = Callable[[tuple[Removal, ...]], tuple[int, SolveBatch]]
"""Makes, of the removals that are missing, what all batches share: how many models fit into one, and who
solves it. Not called where nothing is missing."""


def solve_in_batches(
    removals: Iterable[Removal],
    cache: WeightCache,
    aim: float,
    prepare: Prepare,
    report: Callable[[RetrainingProgress], None],
    group: Group = ALONE,
    *,
    stages: tuple[str, str] = ("Hessian", "solving"),
    sharded: bool = False,
) -> SolvedNow:
    """Solve, over all ranks, the models that the caches lack, and the null control; write each batch.

    Args:
        removals: what to fit without, the same on every rank; from `removal` or `leave_one_out`.
        cache: where finished models lie; ranks of one machine share it, and in the end rank 0's holds all.
        aim: ‖∇R₋S‖ from which a stored model need not be solved again.
        prepare: the work itself.
        report: called as this rank's work goes on.
        group: the ranks.
        stages: what is said while it prepares, and while it solves.
        sharded: whether all ranks work on the same models, of which the first one then keeps the files.

    Returns:
        The models that all ranks had to solve, and how this rank's came down.
    """
    state = cache_state(cache, aim, group, sharded=sharded)
    wanted = with_null_control(removals)
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
    gather_weights(cache, group)
    return SolvedNow(removals=missing, trace=trace)
