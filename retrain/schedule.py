"""Who solves which leave-one-out model: what the caches lack, shared out over ranks, in batches that fit.

Every finished batch is written at once, so a killed run goes on where it was. What the ranks share out are
the models; or, for data that one device cannot hold, the examples, and then all work on the same models.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from erm.softmax import SoftmaxRisk
from retrain.alone import solve_alone
from retrain.certificate import distance_bound, gradient_rounding_bound
from retrain.collect import collect_on_first_rank
from retrain.distributed import from_every_rank, num_ranks, rank, ranks_here
from retrain.preconditioner import build_preconditioner
from retrain.removal import CHUNK_ROWS, NOTHING, RemovalProblem, removal_problem
from retrain.solver import MEMORY, BatchSolution, PassReport, solve_batch
from retrain.weights import LeaveOneOutWeights, WeightCache

MAX_BATCH = 512
"""Models a batch at the most: products of more are no faster, and a kill loses one batch."""


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
    if risk.l2 <= 0:
        raise LeaveOneOutError(
            "leave-one-out models cannot be certified at model.l2=0: without L2 the risk is not strongly "
            "convex and may have no minimiser. Set model.l2 > 0 (the paper uses 0.01)"
        )
    # Before any rank writes, so that all agree on what is missing.
    known = set().union(*from_every_rank(cache.known_indices()))
    wanted = sorted({*indices, NOTHING})
    missing = [index for index in wanted if index not in known]
    trace: tuple[PassTotal, ...] = ()
    if missing:
        report(Progress(stage="Hessian", models_done=0, models_total=0))
        problem = removal_problem(risk, theta, sharded=settings.shard == "data", device=device)
        batches = _own_batches(problem, wanted, known, settings)
        trace = _solve_batches(risk, problem, batches, cache, settings, report)
    collect_on_first_rank(cache)
    return Solved(indices=tuple(missing), trace=trace)


def _solve_batches(
    risk: SoftmaxRisk,
    problem: RemovalProblem,
    batches: list[list[int]],
    cache: WeightCache,
    settings: RetrainSettings,
    report: Callable[[Progress], None],
) -> tuple[PassTotal, ...]:
    single = settings.precision == "mixed"
    preconditioner = build_preconditioner(problem, torch.float32 if single else torch.float64)
    done, total = 0, sum(map(len, batches))
    trace: dict[int, PassTotal] = {}
    last_pass: PassReport | None = None

    def say(stage: str, done: int, last_pass: PassReport | None = None) -> None:
        report(Progress(stage=stage, models_done=done, models_total=total, last_pass=last_pass))

    for batch in batches:
        indices = torch.tensor(batch, device=problem.x.device)
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
            report=report_pass,
        )
        if not bool(solution.converged.all()):
            say("stragglers", done + int(solution.converged.sum()))
            _solve_stragglers(risk, problem, indices, solution, settings.tolerance)
        if not problem.sharded or rank() == 0:
            cache.write(_storable(problem, indices, solution))
        done += len(batch)
    say("solving", done, last_pass)
    return tuple(trace.values())


def _own_batches(
    problem: RemovalProblem, wanted: list[int], known: set[int], settings: RetrainSettings
) -> list[list[int]]:
    """The batches that this rank has to solve.

    They follow from everything that is wanted, and what is known is left out only then: so the batches that
    a killed run had not finished are composed as they would have been, and end at the same bits.
    """
    ranks = 1 if problem.sharded else num_ranks()
    size = min(from_every_rank(settings.batch_size or batch_size_that_fits(problem)))
    batches = [
        [index for index in batch if index not in known]
        for batch in _batches(wanted, size, multiple_of=ranks)
    ]
    unfinished = [batch for batch in batches if batch]
    return unfinished if problem.sharded else unfinished[rank() :: num_ranks()]


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


def _solve_stragglers(
    risk: SoftmaxRisk,
    problem: RemovalProblem,
    indices: Int[Tensor, " B"],
    solution: BatchSolution,
    tolerance: float,
) -> None:
    """Solve the models that the batch left above the tolerance one by one, into the solution."""
    for row in torch.nonzero(~solution.converged).flatten().tolist():
        difference, norm = solve_alone(risk, problem, int(indices[row]), solution.differences[row], tolerance)
        if norm < float(solution.gradient_norms[row]):
            solution.differences[row] = difference
            solution.gradient_norms[row] = norm
            solution.converged[row] = norm <= tolerance


def _storable(
    problem: RemovalProblem, indices: Int[Tensor, " B"], solution: BatchSolution
) -> LeaveOneOutWeights:
    """Round Δ to float32 for the disk, and add what that moved to the bound on the distance."""
    differences = solution.differences
    stored = differences.float()
    storage = (stored.double() - differences).flatten(1).norm(dim=1)
    rounding = gradient_rounding_bound(problem, differences.flatten(1).norm(dim=1))
    distances = distance_bound(solution.gradient_norms, rounding, problem.l2) + storage
    return LeaveOneOutWeights(
        indices=indices.cpu().numpy(),
        differences=_with_all_features(stored, problem.active).cpu().numpy(),
        gradient_norms=solution.gradient_norms.cpu().numpy(),
        distance_bounds=distances.cpu().numpy(),
        passes=solution.passes.cpu().numpy(),
    )


def _with_all_features(
    differences: Float[Tensor, "B K d"], active: Bool[Tensor, " features"]
) -> Float[Tensor, "B K features"]:
    full = differences.new_zeros(*differences.shape[:2], len(active))
    full[:, :, active] = differences
    return full
