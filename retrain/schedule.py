"""Who solves which leave-one-out model: what the caches lack, shared out over ranks, in batches that fit.

Every finished batch is written at once, so a killed run goes on where it was. What the ranks share out are
the models; or, for data that one device cannot hold, the examples, and then all work on the same models.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erm.softmax import SoftmaxRisk
from retrain.alone import solve_alone
from retrain.batches import Batch, cache_state, own_batches, stored_differences
from retrain.certificate import distance_bound, gradient_rounding_bound
from retrain.collect import collect_on_first_rank
from retrain.distributed import rank
from retrain.preconditioner import build_preconditioner
from retrain.removal import NOTHING, RemovalProblem, removal_problem
from retrain.solver import BatchSolution, PassReport, solve_batch
from retrain.weights import LeaveOneOutWeights, WeightCache


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainSettings:
    """How the leave-one-out models are solved.

    Args:
        tolerance: every model is solved to ‖∇R₋ᵢ‖₂ ≤ tolerance.
        precision: "mixed" runs the passes that cannot certify in float32, "float64" none.
        batch_size: models solved together; chosen from the free memory when None.
        shard: what the ranks share out, "models" or "data".

    Raises:
        ValueError: a setting is out of range.
    """

    tolerance: float = 1e-9
    precision: str = "mixed"
    batch_size: int | None = None
    shard: str = "models"

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"retrain.tolerance must be > 0, got {self.tolerance}")
        if self.precision not in ("mixed", "float64"):
            raise ValueError(f"retrain.precision must be mixed or float64, got {self.precision!r}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"retrain.batch_size must be at least 1, got {self.batch_size}")
        if self.shard not in ("models", "data"):
            raise ValueError(f"retrain.shard must be models or data, got {self.shard!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where this rank's share of the work stands."""

    stage: str
    """"Hessian", built and factored; "solving"; "stragglers", the models that a batch left, one by one."""
    models_done: int
    models_total: int
    """0 as long as it is not known."""
    last_pass: PassReport | None = None
    """Of the batch that is being solved; at the end, of the last one."""


PassTotal = tuple[int, float, int]
"""Number of a pass within its batch, the largest gradient norm after it, and how many models took part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Solved:
    """What was solved now."""

    indices: tuple[int, ...] = ()
    """Training points left out, over all ranks; `NOTHING` is the null control."""
    trace: tuple[PassTotal, ...] = ()
    """This rank's passes: the worst over its batches at each number. Stragglers' own passes are not in it."""


class LeaveOneOutError(ValueError):
    """The leave-one-out models of this risk cannot be certified."""


def check_certifiable(l2: float) -> None:
    """Raise LeaveOneOutError at λ = 0, where no minimiser can be certified."""
    if l2 <= 0:
        raise LeaveOneOutError(
            "leave-one-out models cannot be certified at model.l2=0: without L2 the risk is not strongly "
            "convex and may have no minimiser. Set model.l2 > 0 (the paper uses 0.01)"
        )


def solve_missing(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    indices: Iterable[int],
    cache: WeightCache,
    settings: RetrainSettings,
    report: Callable[[Progress], None],
    device: torch.device | None = None,
) -> Solved:
    """Solve, over all ranks, the models that the caches lack, and the null control; write each batch.

    Args:
        risk: the empirical risk over all training examples.
        theta: its minimiser θ̂.
        indices: training points to leave out, the same on every rank.
        cache: where finished models lie; ranks of one machine share it, and in the end rank 0's holds all.
        settings: tolerance, precision, batch size, what is shared out.
        report: called as this rank's work goes on.
        device: where to compute; the risk's own when None.

    Returns:
        The models that all ranks had to solve, and how this rank's came down.

    Raises:
        LeaveOneOutError: without L2 no minimiser can be certified.
    """
    check_certifiable(risk.l2)
    state = cache_state(cache, settings.tolerance, sharded=settings.shard == "data")
    wanted = sorted({*indices, NOTHING})
    missing = [index for index in wanted if index not in state.settled]
    trace: tuple[PassTotal, ...] = ()
    if missing:
        report(Progress(stage="Hessian", models_done=0, models_total=0))
        problem = removal_problem(risk, theta, sharded=settings.shard == "data", device=device)
        batches = own_batches(problem, wanted, state, settings.batch_size)
        trace = _solve_batches(risk, problem, batches, cache, settings, report)
    collect_on_first_rank(cache)
    return Solved(indices=tuple(missing), trace=trace)


def _solve_batches(
    risk: SoftmaxRisk,
    problem: RemovalProblem,
    batches: list[Batch],
    cache: WeightCache,
    settings: RetrainSettings,
    report: Callable[[Progress], None],
) -> tuple[PassTotal, ...]:
    single = settings.precision == "mixed"
    preconditioner = build_preconditioner(problem, torch.float32 if single else torch.float64)
    done, total = 0, sum(len(batch.indices) for batch in batches)
    trace: dict[int, PassTotal] = {}
    last_pass: PassReport | None = None

    def say(stage: str, done: int, last_pass: PassReport | None = None) -> None:
        report(Progress(stage=stage, models_done=done, models_total=total, last_pass=last_pass))

    for batch in batches:
        indices = torch.tensor(batch.indices, device=problem.x.device)
        say("solving", done)

        def report_pass(found: PassReport, done: int = done) -> None:
            nonlocal last_pass
            last_pass = found
            _, worst, models = trace.get(found.number, (0, 0.0, 0))
            worst = max(worst, found.max_gradient_norm)
            trace[found.number] = found.number, worst, models + found.num_models
            say("solving", done + found.num_converged, found)

        solution = solve_batch(
            problem,
            preconditioner,
            indices,
            tolerance=settings.tolerance,
            single_precision=single,
            start=stored_differences(problem, batch, cache) if batch.stored else None,
            report=report_pass,
        )
        if not bool(solution.converged.all()):
            say("stragglers", done + int(solution.converged.sum()))
            _solve_stragglers(risk, problem, indices, solution)
        if not problem.sharded or rank() == 0:
            cache.write(_storable(problem, indices, solution))
        done += len(batch.indices)
    say("solving", done, last_pass)
    return tuple(trace.values())


def _solve_stragglers(
    risk: SoftmaxRisk, problem: RemovalProblem, indices: Int[Tensor, " B"], solution: BatchSolution
) -> None:
    """Solve the models that the batch left above the tolerance one by one, into the solution."""
    for row in torch.nonzero(~solution.converged).flatten().tolist():
        start = solution.differences[row]
        found = solve_alone(risk, problem, int(indices[row]), start, solution.tolerance)
        solution.keep_better(torch.tensor([row], device=indices.device), found)


def _storable(
    problem: RemovalProblem, indices: Int[Tensor, " B"], solution: BatchSolution
) -> LeaveOneOutWeights:
    """The models as they were measured, with the bound on the distance that this implies."""
    differences, norms = solution.differences, solution.gradient_norms
    rounding = gradient_rounding_bound(problem, differences.flatten(1).norm(dim=1))
    return LeaveOneOutWeights(
        indices=indices.cpu().numpy(),
        differences=_with_all_features(differences, problem.active).cpu().numpy(),
        gradient_norms=norms.cpu().numpy(),
        distance_bounds=distance_bound(norms, rounding, problem.l2).cpu().numpy(),
        passes=solution.passes.cpu().numpy(),
        tolerances=np.full(len(indices), solution.tolerance),
    )


def _with_all_features(
    differences: Float[Tensor, "B K d"], active: Bool[Tensor, " features"]
) -> Float[Tensor, "B K features"]:
    full = differences.new_zeros(*differences.shape[:2], len(active))
    full[:, :, active] = differences
    return full
