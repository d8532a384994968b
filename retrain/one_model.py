"""The rare model that its batch cannot bring to the tolerance, solved by itself.

It happens when what is removed carries much of the curvature (few examples, hardly any L2): the minimiser
without it is far from θ̂, and a preconditioner of H at θ̂ is of no use there.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from erm.fit import NewtonFit
from erm.softmax import SoftmaxRisk
from retrain.problem import Measurement, RemovalProblem
from retrain.removal import Removal, RemovalBatch

MOST_PARAMETERS = 2000
"""Up to so many the Hessian is factored anew at every step, where conjugate gradient has failed."""
MAX_STEPS = 200
MAX_HALVINGS = 40


def solve_one(
    risk: SoftmaxRisk,
    problem: RemovalProblem,
    removed: Removal,
    start: Float[Tensor, "K d"],
    tolerance: float,
) -> Measurement:
    """Minimise R₋S over the examples that are left: by the fit that found θ̂, from Δ and else from θ̂, then by
    steps with a factor of the Hessian each.

    Args:
        start: Δ to begin with.

    Returns:
        Δ = θ̂₋S − θ̂, and ∇R₋S(θ̂ + Δ) as `problem` measures it: the best that was found.
    """
    device = risk.x.device
    kept = torch.ones(risk.num_examples, dtype=torch.bool, device=device)
    kept[list(removed)] = False
    batch = RemovalBatch((removed,), problem.weights.device)
    without = replace(
        risk,
        x=risk.x.double()[:, problem.active.to(device)][kept],
        y=risk.y[kept],
        l2=float(problem.l2_of(batch.sizes)),
    )

    def measured(theta: Float[Tensor, " p"]) -> Measurement:
        weights = problem.broadcast(theta.to(problem.weights).view_as(problem.weights))
        return problem.measure(batch, (weights - problem.weights)[None])

    fit, at_fit = NewtonFit(tolerance=tolerance), problem.weights.flatten().to(device)
    theta = fit(without, start=at_fit + start.flatten().to(device)).theta
    found = measured(theta)
    if not float(found.norms) <= tolerance:
        again = fit(without, start=at_fit).theta
        other = measured(again)
        if not float(found.norms) <= float(other.norms):
            theta, found = again, other
    if not float(found.norms) <= tolerance and without.num_parameters <= MOST_PARAMETERS:
        last = measured(_dense_newton(without, theta, tolerance))
        found = last if float(last.norms) < float(found.norms) else found
    return found


def _dense_newton(risk: SoftmaxRisk, theta: Float[Tensor, " p"], tolerance: float) -> Float[Tensor, " p"]:
    """Newton steps, each with its own Cholesky factor and halved until ‖∇R‖ falls, until none does."""
    gradient = risk.gradient(theta)
    for _ in range(MAX_STEPS):
        factor, failed_at = torch.linalg.cholesky_ex(risk.curvature(theta).matrix())
        if int(failed_at) or float(gradient.norm()) <= tolerance:
            break
        step = torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        for halvings in range(MAX_HALVINGS):
            moved = theta - step / 2**halvings
            ahead = risk.gradient(moved)
            if ahead.norm() < gradient.norm():
                break
        else:
            break
        theta, gradient = moved, ahead
    return theta
