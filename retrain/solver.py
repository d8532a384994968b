"""Solve the models of a batch of removals together: quasi-Newton steps from θ̂, one pass over the data each.

All models share the Cholesky factor of H at θ̂, and each corrects it along its own path (`retrain/path.py`).
The correction is worth a pass: a model's Hessian differs from the factor mainly along its first step, and
that step's gradient change is known. Measured on MNIST, the largest gradient norm of 500 models goes 3e-4,
4e-6, 2e-8, 1e-10; without the correction 3e-4, 4e-6, 7e-8, 1e-9.

Passes before the one that is expected to certify may run in float32, which costs two thirds. They only find
a Δ to measure at: every norm that they saw is forgotten. Then each pass rounds Δ to float32, as it will be
stored, and measures the gradient in float64 exactly there. A model that cannot reach the tolerance at a
float32 Δ keeps its float64 Δ.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from retrain.group_solver import MEMORY as GROUP_MEMORY
from retrain.group_solver import solve_groups
from retrain.path import MEMORY, path_from
from retrain.preconditioner import Preconditioner
from retrain.problem import RemovalProblem
from retrain.removal import RemovalBatch
from retrain.solution import BatchSolution, Course, PassReport, pass_report

MAX_PASSES = 20
SINGLE_FLOOR = 1e-9
"""A float32 pass resolves the gradient to about 1e-10; below this norm its steps would follow rounding."""
MAX_SINGLE_PASSES = 3
"""Float32 passes at the most, so that a model whose gradient float32 cannot resolve is not kept waiting."""
STAGNATION = 0.5
"""A model whose gradient norm shrinks by less than this from one rounded Δ to the next is rounded no more."""


def solve_batch(
    problem: RemovalProblem,
    preconditioner: Preconditioner,
    removals: RemovalBatch,
    *,
    tolerance: float,
    single_precision: bool,
    start: Float64[Tensor, "B K d"] | None = None,
    report: Callable[[PassReport], None] = lambda _: None,
) -> BatchSolution:
    """Minimise R₋S for every removal S of a batch to ‖∇R₋S‖ ≤ tolerance.

    Args:
        removals: what each model leaves out. The null control starts where the batch's first removal would,
            so that it has a way to go back.
        tolerance: gradient norm at which a model has converged and leaves the batch.
        single_precision: whether passes that cannot certify run in float32.
        start: Δ to go on from, such as models of a looser tolerance; θ̂ when None.

    Returns:
        The best Δ that float64 has measured of each model, and its norm there; also of models that
        `MAX_PASSES` did not bring to the tolerance.
    """
    prepared = problem.prepared(removals)
    first = problem.gradient_at_fit(prepared)
    solution = BatchSolution(
        differences=torch.zeros_like(first),
        gradient_norms=problem.x.new_full((len(removals),), torch.inf),
        passes=torch.zeros(len(removals), dtype=torch.int64, device=problem.x.device),
        tolerance=tolerance,
    )
    memory = GROUP_MEMORY if removals.groups else MEMORY
    if start is None:
        path = path_from(torch.zeros_like(first), first, memory)
    else:
        found = solution.begin_with(problem.measure(prepared, start))
        path = path_from(start, found.gradients, memory)
    course = Course(
        problem=problem,
        preconditioner=preconditioner,
        removals=prepared,
        path=path,
        solution=solution,
        report=report,
    )
    approaches = single_precision and start is None
    if removals.groups:
        solve_groups(course, first.flatten(1).norm(dim=1), approaches)
    else:
        _solve_points(course, approaches, at_fit=start is None)
    lost = torch.nonzero(solution.gradient_norms.isinf()).flatten()
    if len(lost):
        # Every step of theirs overflowed. They stand at θ̂.
        solution.keep_better(lost, problem.measure(removals.take(lost), solution.differences[lost]))
    return solution


def _solve_points(course: Course, approaches: bool, *, at_fit: bool) -> None:
    """Minimise the risks without one row each."""
    problem, path = course.problem, course.path
    if at_fit:
        first = _first_gradients(problem, course.removals)
        step = problem.broadcast(-course.preconditioner.apply(first))
        if approaches:
            step = _approach(course, step)
        path.forget_gradients()
    else:
        path.keep(~course.solution.converged)
        step = course.next_step()
    _measure_until_converged(course, step)


def _first_gradients(problem: RemovalProblem, removals: RemovalBatch) -> Float64[Tensor, "B K d"]:
    """∇R₋S(θ̂), which costs no pass; the null control is sent where another removal would go."""
    gradients = problem.gradient_at_fit(removals)
    nothing = removals.sizes == 0
    if nothing.any():
        other = next((rows for rows in removals.removals if rows), (0,))
        gradients[nothing] = problem.gradient_at_fit(RemovalBatch((other,), removals.device))
    return gradients


def _approach(course: Course, step: Float64[Tensor, "B K d"]) -> Float64[Tensor, "B K d"]:
    """Move all models by float32 passes; none leaves. Returns the step that float64 is to take next."""
    problem, removals, path, solution = course.problem, course.removals, course.path, course.solution
    # What a removal does to the gradient, for the null control too, which first moves away from θ̂.
    path.norms = _first_gradients(problem, removals).flatten(1).norm(dim=1)
    for number in range(1, MAX_SINGLE_PASSES + 1):
        candidate, before = path.differences + step, path.norms
        gradients = problem.broadcast(problem.estimate(removals, candidate))
        norms = gradients.flatten(1).norm(dim=1)
        solution.passes.add_(1)
        path.move(candidate, gradients, norms)
        course.report(pass_report(number, solution.converged, torch.float32, norms, before))
        step = course.next_step()
        # If the next step contracts as this one did, will float32 still resolve what it leaves?
        if float(norms.max() * (norms / before).max()) <= max(solution.tolerance, SINGLE_FLOOR):
            break
    return step


def _measure_until_converged(course: Course, step: Float64[Tensor, "b K d"]) -> None:
    """Measure every model at the Δ that would be stored, until it has left or `MAX_PASSES` are over."""
    problem, path, solution = course.problem, course.path, course.solution
    for number in range(int(solution.passes.max()) + 1, MAX_PASSES + 1):
        if not len(path.positions):
            return
        candidate, before, shown = path.differences + step, path.norms, path.shown_norms
        rounded = candidate.float().double()
        candidate = torch.where(path.unrounded[:, None, None], candidate, rounded)
        found = problem.measure(course.removals.take(path.positions), candidate)
        path.move(candidate, problem.broadcast(found.gradients), found.norms)
        path.unrounded |= before.isfinite() & (found.norms > STAGNATION * before)
        solution.passes[path.positions] += 1
        solution.keep_better(path.positions, found)
        course.report(pass_report(number, solution.converged, torch.float64, found.norms, shown))
        path.keep(~solution.converged[path.positions])
        step = course.next_step()
