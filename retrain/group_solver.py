"""Solve the models of a batch of large removals: what they leave out changes the Hessian itself.

Without a quarter of the rows the factor of H at θ̂ contracts by 0.1 per pass and not by 0.01, and a float32 Δ
cannot be as near to its minimiser as it has to be. So, unlike for single rows (`retrain/solver.py`):

- L-BFGS remembers `MEMORY` pairs, and each model takes as many float32 passes as float32 can resolve;
- where what is left would cost more passes than a factor, the mean Hessian of the models that are left is
  factored, at their mean Δ. Rows of large loss, or of one class, move all models of a batch the same way;
- Δ is rounded to float32 only where that is below the tolerance.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from retrain.preconditioner import refreshed_preconditioner
from retrain.solution import Course, pass_report

MAX_PASSES = 60
MEMORY = 20
"""Pairs of step and gradient change."""
SINGLE_RESOLUTION = 1e-6
"""A float32 pass that is expected below so much of what the removal has changed the gradient by is not taken.
It errs by about 2e-7 of that, on MNIST; so deep it still saves a float64 pass, and deeper it does not."""
HALF_UNIT = 2.0**-25
"""Rounding to float32 moves Δ by so much of its length, or a little less."""
ROUNDED_SHARE = 0.5
"""A Hessian's typical share of the largest step: what is left of a rounding of Δ in the gradient."""
PATIENCE = 3
"""Passes with one factor before another is thought of; its contraction is known then."""
MAX_FACTORS = 3
"""Refreshed for one batch."""


@dataclass(kw_only=True)
class _Course(Course):
    """And how far float32 and one factor bring each model."""

    single: Bool[Tensor, " b"]
    """Models whose next pass is a float32 one."""
    floors: Float64[Tensor, " b"]
    """Gradient norms that float32 is not asked to go below."""
    factors: int = 0
    """How many were refreshed."""
    norms: tuple[Float64[Tensor, " b"], ...] = ()
    """Gradient norms of the models that are left, after each pass with this factor."""


def solve_groups(begun: Course, first: Float64[Tensor, " B"], approaches: bool) -> None:
    """Minimise R₋S for every removal S of a batch.

    Args:
        begun: at its beginning, the removals prepared.
        first: ‖∇R₋S(θ̂)‖ of each.
        approaches: whether passes that cannot certify run in float32.
    """
    single = torch.full_like(first, approaches, dtype=torch.bool)
    course = _Course(**vars(begun), single=single, floors=SINGLE_RESOLUTION * first)
    path, solution = course.path, course.solution
    _leave(course, ~solution.converged)
    for number in range(int(solution.passes.max()) + 1, MAX_PASSES + 1):
        if not len(path.positions):
            return
        _pass(course, number)
        _refresh(course)


def _pass(course: _Course, number: int) -> None:
    """One step of every model, and its gradient: of float32 or of float64, as each model has it."""
    problem, path, solution = course.problem, course.path, course.solution
    candidate, before = path.differences + course.next_step(), path.norms
    gradients, norms = torch.empty_like(candidate), torch.empty_like(before)
    single = torch.nonzero(course.single).flatten()
    double = torch.nonzero(~course.single).flatten()
    if len(single):
        taken = course.removals.take(single)
        gradients[single] = problem.broadcast(problem.estimate(taken, candidate[single]))
        norms[single] = gradients[single].flatten(1).norm(dim=1)
    if len(double):
        candidate[double] = _rounded(candidate[double], path.unrounded[double], solution.tolerance)
        found = problem.measure(course.removals.take(double), candidate[double])
        gradients[double], norms[double] = problem.broadcast(found.gradients), found.norms
        solution.keep_better(path.positions[double], found)
    path.move(candidate, gradients, norms)
    solution.passes[path.positions] += 1
    dtype = torch.float32 if len(single) else torch.float64
    course.report(pass_report(number, solution.converged, dtype, norms, before))
    path.unrounded |= ~course.single & (norms > 0.5 * before)
    # If the next step contracts as this one did, will float32 still resolve what it leaves?
    least = course.floors.clamp(min=solution.tolerance)
    switched = course.single & (norms * (norms / before).clamp(max=1) <= least)
    course.single = course.single & ~switched
    course.norms = (*course.norms, path.norms)[-1 - PATIENCE :]
    _leave(course, ~solution.converged[path.positions])


def _leave(course: _Course, staying: Bool[Tensor, " b"]) -> None:
    """Drop the models that have converged."""
    if bool(staying.all()):
        return
    course.path.keep(staying)
    course.removals = course.removals.take(torch.nonzero(staying).flatten())
    course.single, course.floors = course.single[staying], course.floors[staying]
    course.norms = tuple(norms[staying] for norms in course.norms)


def _rounded(
    differences: Float64[Tensor, "b K d"], unrounded: Bool[Tensor, " b"], tolerance: float
) -> Float64[Tensor, "b K d"]:
    """Δ as it will be stored: in float32 numbers where these are near enough to it."""
    left = ROUNDED_SHARE * HALF_UNIT * differences.flatten(1).norm(dim=1)
    exact = unrounded | (left > tolerance)
    return torch.where(exact[:, None, None], differences, differences.float().double())


def _refresh(course: _Course) -> None:
    """A factor for the models that are left, where it pays: for most of them, not for the slowest."""
    problem, path = course.problem, course.path
    if len(course.norms) <= PATIENCE or course.factors == MAX_FACTORS or not len(path.positions):
        return
    ahead = _passes_ahead(course.norms[0], course.norms[-1], course.solution.tolerance)
    # K(K − 1)/2 blocks of 2nd² operations, against two products of 2nd(K − 1) for each model.
    cost = problem.num_classes * problem.num_features / (4 * len(path.positions))
    if ahead <= cost + 2 * PATIENCE:
        return
    course.preconditioner = refreshed_preconditioner(
        problem, course.removals, path.differences, course.preconditioner.factor.dtype
    )
    course.factors += 1
    course.norms = ()


def _passes_ahead(before: Float64[Tensor, " b"], now: Float64[Tensor, " b"], tolerance: float) -> float:
    """How many more passes the tolerance takes a model on average, at the contraction of `PATIENCE` passes.

    A model that does not come nearer counts as taking all that it may.
    """
    each = PATIENCE * (now / tolerance).log() / (before / now).log()
    known = (now < before) & before.isfinite()
    return float(torch.where(known, each, MAX_PASSES).clamp(0, MAX_PASSES).mean())
