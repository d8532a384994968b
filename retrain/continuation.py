"""Is a model the minimum that θ̂ becomes when rows lose their weight, or another one?

A risk that is not convex has many minima, and without some rows a solver may end at one that has nothing to
do with θ̂. The minimum that influence speaks of is the end of a path: of the minimisers of
F_t = (1 − t)·R + t·R₋S, which begins in θ̂ at t = 0, and along which the weight of the removed rows falls from
that of the others to 0. A model is

- `same basin` where the path reaches t = 1, and the model is its end;
- `left it` where the path ends before: the smallest eigenvalue of ∇²F_t falls to 0, the minimum is gone;
- `undecided` where neither could be found out.

How far one has to go along the path is decided by what is in doubt. At any point, Newton–Kantorovich
(`retrain/local_certificate.py`) with the measured M covers an interval of t: for each of them one minimiser
of F_t is near the point, and no other is within some distance. Two points whose intervals meet in a t where
the minimisers are near enough to be the same are *linked*. Where θ̂ and the model themselves are linked, no
point between has to be computed; else points are put between until all are linked. The smallest margin of the
links is kept: so many times larger than measured M might be.

Where M is too large for links of a bearable length, the path is followed as usual: short steps, each solved
from the last, the smallest eigenvalue measured at each, and a step taken back where the solution is off what
was predicted by more than half of the way. Such a label is a measurement, and its margin is below 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from retrain.local_problem import LocalProblem, Surroundings, surroundings, surroundings_of_fit
from retrain.local_solver import Models, influence_step, solve
from retrain.removal import Removal

SAME, LEFT, UNDECIDED = "same basin", "left it", "undecided"
LABELS = (SAME, LEFT, UNDECIDED)
"""In the order in which files number them."""
MEETINGS = 17
"""Values of t at which two points are tried to be linked."""
FACTORS = (0.01, 0.03, 0.1, 0.3, 1.0, 1.25, 1.5, 2.0, 3.0, 10.0, 100.0, 1e3)
"""Of the measured M: with which of them a link is tried."""
ROUNDS = 60
"""Steps along a path at the most."""
FOLLOWED = 1 / 16
"""Steps of t that are taken without a link if there is none so short."""
SHORTEST = 1 / 256
"""A step of t below which the path is given up."""
REACH = 0.55
"""M times the length that a step is meant to have."""
FLAT = 0.1
"""Smallest eigenvalue, 1 at θ̂, below which a path that cannot be followed is taken to end."""
STRAY = 0.5
"""How far a solution may be from what was predicted, as a share of the step."""
LOOSE = 1e-2
"""h that points between may have of their own residual."""


@dataclass(frozen=True)
class Labelled:
    """What is known of B models' paths."""

    labels: Int64[Tensor, " B"]
    """Places in `LABELS`."""
    margins: Float64[Tensor, " B"]
    """The smallest of the path's links; below 1 where it was followed without being linked."""
    points: Int64[Tensor, " B"]
    """Points that were computed between θ̂ and the model."""
    ends: Surroundings
    """Of the models: those given, and where the path has another end, this."""


@dataclass(frozen=True)
class _Walk:
    """Where the models that are under way are."""

    places: Int64[Tensor, " b"]
    here: Surroundings
    steps: Float64[Tensor, " b"]
    """Of t, to be tried next."""
    velocities: Float64[Tensor, "b p"]
    """Δ per t, of the last step."""


def label(
    problem: LocalProblem, removals: tuple[Removal, ...], ends: Surroundings, tolerance: float
) -> Labelled:
    """Follow the path of each model, as far as it is in doubt.

    Args:
        ends: what is measured of the models, at t = 1.
        tolerance: ‖∇R₋S‖ that an end of a path is solved to.
    """
    start = surroundings_of_fit(problem, removals)
    margins = _link(problem, start, ends)
    labels = torch.where(margins >= 1, LABELS.index(SAME), LABELS.index(UNDECIDED))
    found = Labelled(labels, torch.where(margins >= 1, margins, torch.inf), torch.zeros_like(labels), ends)
    places = torch.nonzero(margins < 1).flatten()
    own, here = tuple(removals[place] for place in places.tolist()), start.take(places)
    walk = _Walk(places, here, _next_step(here), influence_step(problem, own))
    for _ in range(ROUNDS):
        if not len(walk.places):
            break
        found, walk = _advance(problem, removals, walk, found, tolerance)
    return found


def _advance(
    problem: LocalProblem, removals: tuple[Removal, ...], walk: _Walk, found: Labelled, tolerance: float
) -> tuple[Labelled, _Walk]:
    """A step of every model that is under way."""
    places, here = walk.places, walk.here
    own = tuple(removals[place] for place in places.tolist())
    shares = here.shares + walk.steps
    shares = torch.where(shares > 1 - SHORTEST, 1.0, shares)
    ahead = (shares - here.shares)[:, None]
    predicted = here.differences + ahead * walk.velocities
    there = _solved_at(problem, own, predicted, here, shares, tolerance)
    found.points[places] += 1
    moved = there.differences - here.differences
    lengths = problem.factor.lengths
    straight = lengths(there.differences - predicted) <= STRAY * lengths(moved)
    links = _link(problem, here, there)
    near = there.residuals <= 2 * LOOSE * here.curvatures**2 / here.lipschitz
    taken = (links >= 1) | (near & (there.curvatures > 0) & straight & (walk.steps <= FOLLOWED))
    found.margins[places[taken]] = torch.minimum(found.margins[places], links)[taken]
    flat = torch.minimum(here.curvatures, torch.where(near, there.curvatures, torch.inf)) <= FLAT
    here = here.put(taken, there.take(taken))
    walk = _Walk(
        places,
        here,
        torch.where(taken, _next_step(here), walk.steps / 2),
        torch.where(taken[:, None], moved / ahead, walk.velocities),
    )
    found, finished = _finish(problem, walk, found)
    lost = ~finished & (walk.steps < SHORTEST)
    found.labels[places[lost & flat]] = LABELS.index(LEFT)
    going = torch.nonzero(~finished & ~lost).flatten()
    return found, _Walk(places[going], here.take(going), walk.steps[going], walk.velocities[going])


def _solved_at(
    problem: LocalProblem,
    removals: tuple[Removal, ...],
    predicted: Float64[Tensor, "b p"],
    here: Surroundings,
    shares: Float64[Tensor, " b"],
    tolerance: float,
) -> Surroundings:
    """The minimisers at the next t: as near as links need them, and to the tolerance where t is 1."""
    near = LOOSE * here.curvatures**2 / here.lipschitz * problem.factor.smallest**0.5
    tolerances = torch.where(shares < 1, near.clamp_min(tolerance), tolerance)
    solved = solve(problem, Models(removals, shares, tolerances), predicted)
    return surroundings(problem, removals, solved.differences, shares, solved.gradients)


def _next_step(here: Surroundings) -> Float64[Tensor, " b"]:
    """As long as a link is likely to be, and not shorter than what is taken without one."""
    length = REACH * here.curvatures**2 / (here.lipschitz * here.pulls)
    return length.clamp(FOLLOWED, 1.0)


def _finish(problem: LocalProblem, walk: _Walk, found: Labelled) -> tuple[Labelled, Bool[Tensor, " b"]]:
    """Models whose path has arrived: at the end that is known, or at one of its own, which replaces it."""
    places, here = walk.places, walk.here
    links = _link(problem, here, found.ends.take(places))
    linked, arrived = links >= 1, here.shares >= 1
    found.margins[places[linked]] = torch.minimum(found.margins[places], links)[linked]
    finished, other = linked | arrived, arrived & ~linked
    found.labels[places[finished]] = LABELS.index(SAME)
    ends = found.ends.put(places[other], here.take(other))
    return Labelled(found.labels, found.margins, found.points, ends), finished


def _link(problem: LocalProblem, here: Surroundings, there: Surroundings) -> Float64[Tensor, " b"]:
    """With how many times the measured M some t between has one and the same minimiser near both points.

    It is near a point by Newton–Kantorovich, within t*; and it is the other's if it is nearer to the other
    than t**. M is the larger of the two points'. 0 where no factor of `FACTORS` will do.
    """
    count, device = len(here.shares), here.shares.device
    parts = torch.linspace(0, 1, MEETINGS, dtype=torch.float64, device=device)
    shares = torch.lerp(here.shares, there.shares, parts[:, None]).flatten()
    every = torch.arange(count, device=device).repeat(MEETINGS)
    lipschitz = torch.maximum(here.lipschitz, there.lipschitz)[every]
    apart = problem.factor.lengths(there.differences - here.differences)[every]
    pair = here.take(every).certificates(shares), there.take(every).certificates(shares)
    best = torch.zeros_like(here.shares)
    for factor in FACTORS:
        one, other = (found.with_lipschitz(factor * lipschitz) for found in pair)
        same = (apart + one.radii < other.alone_within) | (apart + other.radii < one.alone_within)
        linked = (one.holds & other.holds & same).view(MEETINGS, count).any(dim=0)
        best = torch.where(linked, factor, best)
    return best
