"""dattri (Deng et al., 2024): https://trais-lab.github.io/dattri"""

from collections.abc import Callable
from typing import Any

import torch
from dattri.algorithm.influence_function import IFAttributorCG, IFAttributorLiSSA
from dattri.task import AttributionTask
from jaxtyping import Float
from torch import Tensor

from benchmarks.peers.problem import Candidates, PeerProblem


def _scores(problem: PeerProblem, make: Callable[[AttributionTask], Any]) -> Float[Tensor, " n"]:
    task = AttributionTask(
        loss_func=lambda parameters, data: problem.loss(parameters, *data),
        target_func=lambda parameters, data: problem.test_loss(parameters, *data),
        model=problem.model,
        checkpoints=[problem.model.state_dict()],
    )
    attributor = make(task)
    # One batch of all examples: its documentation advises that for the Hessian, and for the scores it saves
    # solving for s_test again for every batch.
    attributor.cache(problem.batches(len(problem.x)))
    with torch.no_grad():
        found: Tensor = attributor.attribute(problem.batches(len(problem.x)), problem.test_batch())
    return found[:, 0]


CANDIDATES: Candidates = {
    "dattri CG max_iter=10": lambda problem: _scores(problem, IFAttributorCG),
    "dattri CG max_iter=20": lambda problem: _scores(problem, lambda task: IFAttributorCG(task, max_iter=20)),
    "dattri CG max_iter=30": lambda problem: _scores(problem, lambda task: IFAttributorCG(task, max_iter=30)),
    "dattri LiSSA num_repeat=1": lambda problem: _scores(problem, IFAttributorLiSSA),
    # Averaged over repeats, as the paper's is; and with larger batches, whose curvature allows longer steps.
    "dattri LiSSA num_repeat=5": lambda problem: _scores(
        problem, lambda task: IFAttributorLiSSA(task, num_repeat=5)
    ),
    "dattri LiSSA batch=50 num_repeat=2": lambda problem: _scores(
        problem, lambda task: IFAttributorLiSSA(task, batch_size=50, num_repeat=2, scaling=10.0)
    ),
}
