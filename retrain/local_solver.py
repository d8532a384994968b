"""Solve models near θ̂ together: L-BFGS around the factor of H, every pass in float64, at the Δ that is kept.

A step is no longer in ‖·‖_H than `TRUST` times the gradient, so it is never longer than where the smallest
eigenvalue is 1/`TRUST` of that at θ̂, and one after which the gradient has grown is taken back. What L-BFGS
does not bring to the tolerance is solved one by one by the fit of `erm/fit.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from erm.fit import NewtonFit
from retrain.local_problem import LocalProblem
from retrain.path import Path, inverse_hessian_product, path_from
from retrain.removal import Removal
from retrain.removed_risks import Pair, without_rows
from retrain.solution import PassReport, pass_report

TRUST = 4.0
MEMORY = 10
MAX_PASSES = 30
MOST_ALONE = 2000
"""Passes of a model that is solved by itself."""


@dataclass(frozen=True)
class Models:
    """What is asked of B models."""

    removals: tuple[Removal, ...]
    shares: Float64[Tensor, " B"]
    """t of each: which of the risks between R and R₋S it minimises."""
    tolerances: Float64[Tensor, " B"]
    """‖∇F_t‖₂ to reach."""

    def take(self, places: Int[Tensor, " b"]) -> "Models":
        """Some of them."""
        removals = tuple(self.removals[place] for place in places.tolist())
        return Models(removals, self.shares[places], self.tolerances[places])


@dataclass(frozen=True)
class Solved:
    """Where B models have come to."""

    differences: Float64[Tensor, "B p"]
    """Δ: of the smallest norm that was met."""
    gradients: Pair
    """∇R and ∇R₋S, measured there."""
    gradient_norms: Float64[Tensor, " B"]
    """‖∇F_t(θ̂ + Δ)‖₂ of them."""
    passes: Int[Tensor, " B"]
    """Passes over the data: gradients, and Hessian products of models that were solved alone."""
    wanted: Float64[Tensor, " B"]
    """The tolerances."""

    @property
    def converged(self) -> Bool[Tensor, " B"]:
        return self.gradient_norms <= self.wanted

    def enter(
        self,
        places: Int[Tensor, " b"],
        differences: Float64[Tensor, "b p"],
        gradients: Pair,
        norms: Float64[Tensor, " b"],
    ) -> None:
        """Keep what was measured where it is better."""
        better = norms < self.gradient_norms[places]
        self.differences[places[better]] = differences[better]
        self.gradients.full[places[better]] = gradients.full[better]
        self.gradients.without[places[better]] = gradients.without[better]
        self.gradient_norms[places[better]] = norms[better]


Report = Callable[[PassReport], None]


def influence_step(problem: LocalProblem, removals: tuple[Removal, ...]) -> Float64[Tensor, "B p"]:
    """−H⁻¹∇R₋S(θ̂): what influence says of the model, and where its solution begins."""
    gradients = problem.gradients_of_fit(removals).without
    return -problem.factor.apply(gradients[:, None])[:, 0]


def solve(
    problem: LocalProblem,
    models: Models,
    start: Float64[Tensor, "B p"],
    report: Report = lambda found: None,
    *,
    alone: bool = False,
) -> Solved:
    """Bring models to their tolerances.

    Args:
        alone: whether models that L-BFGS leaves are then solved one by one; all at t = 1.
    """
    infinite = torch.full_like(start[:, 0], torch.inf)
    passes = torch.zeros(len(start), dtype=torch.int64, device=start.device)
    unknown = Pair(torch.full_like(start, torch.nan), torch.full_like(start, torch.nan))
    solved = Solved(start.clone(), unknown, infinite, passes, models.tolerances)
    _descend(problem, models, start, solved, report)
    if alone:
        for place in torch.nonzero(~solved.converged).flatten().tolist():
            _solve_alone(problem, models, place, solved)
    return solved


def _descend(
    problem: LocalProblem, models: Models, start: Float64[Tensor, "B p"], solved: Solved, report: Report
) -> None:
    path: Path | None = None
    places, candidate = torch.arange(len(start), device=start.device), start
    for number in range(1, MAX_PASSES + 1):
        here = models.take(places)
        pair = problem.risks.derivatives(1, problem.thetas(candidate), here.removals)
        gradients = pair.between(here.shares)
        norms = gradients.norm(dim=1)
        solved.passes[places] += 1
        solved.enter(places, candidate, pair, norms)
        lengths = problem.factor.whitened(gradients).norm(dim=1)
        if path is None:
            path = path_from(candidate[:, None], gradients[:, None], MEMORY)
            path.norms = lengths
            before = norms
        else:
            before = path.shown_norms
            path.move(candidate[:, None], gradients[:, None], lengths)
        path.shown_norms = norms
        report(pass_report(number, solved.converged, torch.float64, norms, before))
        going = ~solved.converged[places]
        path.keep(going)
        places = places[going]
        if not len(places):
            return
        step = _trusted(problem, -inverse_hessian_product(path, problem.factor.apply)[:, 0], path.norms)
        candidate = path.differences[:, 0] + step


def _trusted(
    problem: LocalProblem, step: Float64[Tensor, "b p"], lengths: Float64[Tensor, " b"]
) -> Float64[Tensor, "b p"]:
    """The step, or as much of it as is trusted."""
    allowed = TRUST * lengths / problem.factor.lengths(step)
    return step * allowed.clamp(max=1.0).nan_to_num(nan=1.0)[:, None]


def _solve_alone(problem: LocalProblem, models: Models, place: int, solved: Solved) -> None:
    """By the fit that descends, and so gets past a saddle that L-BFGS circles."""
    rows = models.removals[place]
    fit = NewtonFit(tolerance=float(models.tolerances[place]), max_passes=MOST_ALONE)
    found = fit(without_rows(problem.risk, rows), start=problem.theta + solved.differences[place])
    places = torch.tensor([place], device=problem.theta.device)
    candidate = (found.theta - problem.theta)[None]
    pair = problem.risks.derivatives(1, problem.thetas(candidate), (rows,))
    solved.passes[place] += found.passes + 1
    solved.enter(places, candidate, pair, pair.between(models.shares[places]).norm(dim=1))
