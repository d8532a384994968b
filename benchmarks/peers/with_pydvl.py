"""pyDVL (TransferLab): https://pydvl.org"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from pydvl.influence.torch import CgInfluence, LissaInfluence, NystroemSketchInfluence
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.peers.problem import Candidates, PeerProblem

BATCH = 5000


def _scores(
    problem: PeerProblem, make: Callable[[PeerProblem], Any], batch: int = BATCH
) -> Float[Tensor, " n"]:
    model = make(problem).fit(problem.batches(batch))
    factors = model.influence_factors(problem.x_test, problem.y_test)
    parts = [model.influences_from_factors(factors, x, y) for x, y in problem.batches(BATCH)]
    return torch.cat(parts, dim=1)[0]


def _cg(max_iterations: int) -> Callable[[PeerProblem], Any]:
    # Its tolerance for one right-hand side is taken from the first entry of that vector, which here is 0, so
    # that only the number of iterations ends it.
    return lambda problem: CgInfluence(
        problem.model,
        cross_entropy,
        regularization=problem.l2,
        maxiter=max_iterations,
        warn_on_max_iteration=False,
    )


def _nystroem(rank: int) -> Callable[[PeerProblem], Any]:
    return lambda problem: NystroemSketchInfluence(
        problem.model, cross_entropy, regularization=problem.l2, rank=rank
    )


def _lissa(scale: float, maxiter: int) -> Callable[[PeerProblem], Any]:
    return lambda problem: LissaInfluence(
        problem.model, cross_entropy, regularization=problem.l2, scale=scale, maxiter=maxiter, rtol=1e-6
    )


CANDIDATES: Candidates = {
    "pyDVL CG maxiter=10": lambda problem: _scores(problem, _cg(10)),
    "pyDVL CG maxiter=30": lambda problem: _scores(problem, _cg(30)),
    "pyDVL Nyström rank=100": lambda problem: _scores(problem, _nystroem(100)),
    "pyDVL Nyström rank=200": lambda problem: _scores(problem, _nystroem(200)),
    "pyDVL Nyström rank=1000": lambda problem: _scores(problem, _nystroem(1000)),
    "pyDVL LiSSA batch=100": lambda problem: _scores(problem, _lissa(25.0, 1000), batch=100),
    # Its scale divides the step, as the paper's does: the largest curvature of a batch, not of an example.
    "pyDVL LiSSA batch=500 scale=5": lambda problem: _scores(problem, _lissa(5.0, 1000), batch=500),
    "pyDVL LiSSA batch=1000 scale=5": lambda problem: _scores(problem, _lissa(5.0, 2000), batch=1000),
}
