"""Models of groups, here and by scikit-learn: what `python -m benchmarks.groups` measures."""

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from erm.dataset import Dataset
from erm.fit import NewtonFit
from erm.models import logistic
from erm.softmax import SoftmaxRisk
from influence.cg import CG
from influence.scores import influence_scores
from retrain.certified_softmax import CertifiedSoftmax
from retrain.changes import Changes
from retrain.ground_truth import ground_truth
from retrain.removal import Removal
from retrain.settings import L2Scaling, RetrainSettings
from retrain.weights import WeightCache


@dataclass(frozen=True)
class Problem:
    """A risk, its minimiser, and the test points."""

    data: Dataset
    risk: SoftmaxRisk
    theta: Float[Tensor, " p"]
    x_test: Float[Tensor, "t features"]
    y_test: Int[Tensor, " t"]


@dataclass(frozen=True)
class Solved:
    """The models without some groups, and what they took."""

    seconds: float
    processor_seconds: float
    passes: float
    changes: Changes


def problem_of(data: Dataset, targets: Sequence[int]) -> Problem:
    """The paper's model of some data."""
    risk = logistic(data, l2=0.01, bias=False, dtype=torch.float64, device=torch.device("cpu"))
    theta = NewtonFit()(risk).theta
    x, y = (torch.from_numpy(array[list(targets)]) for array in (data.x_test, data.y_test))
    return Problem(data, risk, theta, x, y)


def influences(problem: Problem) -> Float[np.ndarray, "t n"]:
    """I_up,loss of every training point on every test point, by conjugate gradient."""
    risk, theta = problem.risk, problem.theta
    solver = CG().at(risk.curvature(theta))
    gradients = risk.loss_gradient(theta, problem.x_test, problem.y_test)
    scores = [influence_scores(risk, theta, solver(gradient)).influence for gradient in gradients]
    return np.stack([found.numpy() for found in scores])


def solve(problem: Problem, groups: list[Removal], settings: RetrainSettings) -> Solved:
    """Solve without the groups, into an empty cache, and read the changes off."""
    with tempfile.TemporaryDirectory() as folder:
        cache = WeightCache(Path(folder), "benchmark", lambda _: None)
        started, used = time.perf_counter(), time.process_time()
        found = CertifiedSoftmax(
            risk=problem.risk, theta=problem.theta, cache=cache, settings=settings
        ).solve(groups, lambda _: None)
        seconds, processor = time.perf_counter() - started, time.process_time() - used
        passes = sum(models for _, _, models in found.trace) / len(found.removals)
        changes = ground_truth(
            problem.risk, problem.theta, cache.parts(groups), problem.x_test, problem.y_test
        )
    return Solved(seconds, processor, passes, changes)


def without(problem: Problem, group: Removal, scaling: L2Scaling) -> SoftmaxRisk:
    """R₋S as scikit-learn is given it."""
    risk = problem.risk
    kept = np.setdiff1d(np.arange(risk.num_examples), group)
    l2 = risk.l2 * (risk.num_examples / len(kept) if scaling == "sum" else 1.0)
    return replace(risk, x=risk.x[kept], y=risk.y[kept], l2=l2)


def scikit_learn(
    problem: Problem, group: Removal, scaling: L2Scaling, solver: str, tolerance: float
) -> tuple[float, float, Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Seconds and processor seconds of a fit from θ̂, its changes, and how wrong they may be."""
    risk, left = problem.risk, without(problem, group, scaling)
    model = LogisticRegression(
        C=1 / (left.l2 * left.num_examples), fit_intercept=False, tol=tolerance, solver=solver,
        max_iter=10_000, warm_start=True,
    )  # fmt: skip
    model.classes_ = np.arange(risk.num_classes)
    model.coef_ = risk.weights(problem.theta).numpy().copy()
    model.intercept_ = np.zeros(risk.num_classes)
    x, y = left.x.numpy(), left.y.numpy()
    started, used = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    theta = torch.from_numpy(model.coef_).flatten()
    x_test, y_test = problem.x_test, problem.y_test
    change = risk.losses(theta, x_test, y_test) - risk.losses(problem.theta, x_test, y_test)
    bound = 2**0.5 * x_test.norm(dim=1) * left.gradient(theta).norm() / left.l2
    return seconds, processor, change.numpy(), bound.numpy()


def excess(found: Solved, group: Removal, change: np.ndarray, bound: np.ndarray) -> float:
    """The largest |their change − ours| as a share of both bounds: at most 1, or one bound is false."""
    column = found.changes.removals.index(group)
    apart = np.abs(found.changes.actual_change[:, column] - change)
    return float((apart / (found.changes.bound[:, column] + bound)).max())
