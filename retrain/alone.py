"""The rare leave-one-out model that the batch cannot bring to its tolerance, solved by itself.

It happens when one example carries much of the curvature (few examples, hardly any L2): the minimiser without
it is far from θ̂, and a preconditioner of H at θ̂ is of no use there.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from erm.fit import NewtonFit
from erm.softmax import SoftmaxRisk
from retrain.removal import NOTHING, Measurement, RemovalProblem


def solve_alone(
    risk: SoftmaxRisk, problem: RemovalProblem, index: int, start: Float[Tensor, "K d"], tolerance: float
) -> Measurement:
    """Minimise R₋ᵢ by the fit that found θ̂, over the other n − 1 examples.

    Args:
        risk: the empirical risk of all n examples.
        problem: its leave-one-out risks.
        index: the training point left out, or `NOTHING`.
        start: Δ to begin with.
        tolerance: gradient norm to reach.

    Returns:
        Δ = θ̂₋ᵢ − θ̂, and ∇R₋ᵢ(θ̂ + Δ) as `problem` measures it.
    """
    device = risk.x.device
    kept = torch.arange(risk.num_examples, device=device) != index if index != NOTHING else slice(None)
    without = replace(risk, x=risk.x.double()[:, problem.active.to(device)][kept], y=risk.y[kept])
    fit = NewtonFit(tolerance=tolerance)(without, start=(problem.weights + start).flatten().to(device))
    theta = problem.agree(fit.theta.to(problem.weights).view_as(problem.weights))
    indices = torch.tensor([index], device=problem.weights.device)
    return problem.measure(indices, (theta - problem.weights)[None])
