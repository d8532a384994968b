"""Groups of training rows left out, against what a user would do instead: `python -m benchmarks.groups`.

In one run on MNIST: the groups of the 2019 study at a fixed sum of L2, for its six test points; 100 models of
random halves and the interval of their datamodeling score; scikit-learn's warm-started fits without a sample
of the same groups. And on digits, 200 random groups against scikit-learn at a tolerance of 1e-12. `--quick`
takes 11,000 rows of MNIST and 120 of the groups.
"""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks.arguments import asks_for_quick
from benchmarks.report import Measure, machine, show
from erm.data.digits import load_digits
from erm.data.mnist import load_mnist
from erm.dataset import Dataset
from erm.fit import NewtonFit
from erm.models import logistic
from erm.softmax import SoftmaxRisk
from influence.cg import CG
from influence.scores import influence_scores
from plots.rank_interval import spearman_interval
from repro.configuration.compose import compose
from retrain.changes import Changes
from retrain.ground_truth import ground_truth
from retrain.group_kinds import halves, random_groups, study_groups
from retrain.removal import Removal
from retrain.schedule import solve_missing
from retrain.settings import L2Scaling, RetrainSettings
from retrain.weights import WeightCache

STUDY = ["experiment=groups2019"]
PEER_GROUPS = 4
QUICK_ROWS, QUICK_GROUPS = 11_000, 120


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
        found = solve_missing(problem.risk, problem.theta, groups, cache, settings, lambda _: None)
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


def digits_rows() -> list[Measure]:
    """Each group's truth against an independent solver."""
    data = load_digits()
    problem = problem_of(data, range(5))
    sizes = np.linspace(0.01, 0.5, 200).tolist()
    groups = random_groups(num_examples=problem.risk.num_examples, sizes=sizes, count=1, seed=0)
    found = solve(problem, groups, RetrainSettings())
    shares = [
        excess(found, group, *scikit_learn(problem, group, "mean", "newton-cg", 1e-12)[2:])
        for group in groups
    ]
    return [
        Measure(
            name="digits: groups against scikit-learn, tol 1e-12", value=len(groups), form="{:.0f}", least=200
        ),
        Measure(name="digits: largest difference / both bounds", value=max(shares), form="{:.2f}", most=1.0),
    ]


def study_rows(problem: Problem, scores: np.ndarray, quick: bool) -> list[Measure]:
    """The 2019 study and the peer on a sample of its groups."""
    config = compose(STUDY)
    settings = RetrainSettings(l2_scaling="sum", tolerance=config["retrain"]["tolerance"])
    kind = {key: value for key, value in config["removals"].items() if key != "_target_"}
    started = time.perf_counter()
    groups = study_groups(
        num_examples=problem.risk.num_examples, labels=problem.data.y_train, features=problem.data.x_train,
        influences=scores, **kind | ({"most": QUICK_GROUPS} if quick else {}),
    )  # fmt: skip
    chosen = time.perf_counter() - started
    found = solve(problem, groups, settings)
    effects, worst = np.abs(found.changes.actual_change), found.changes.bound.max(axis=1)
    by_size = sorted(groups, key=len)
    sample = by_size[len(groups) // (2 * PEER_GROUPS) :: len(groups) // PEER_GROUPS][:PEER_GROUPS]
    peers = [scikit_learn(problem, group, "sum", "lbfgs", 1e-8) for group in sample]
    shares = [excess(found, group, *peer[2:]) for group, peer in zip(sample, peers, strict=True)]
    seconds, processor = (float(np.mean([peer[place] for peer in peers])) for place in (0, 1))
    ours, ours_processor = found.seconds / len(groups), found.processor_seconds / len(groups)
    return [
        Measure(
            name="groups of the 2019 study", value=len(groups), form="{:,.0f}", least=None if quick else 1700
        ),
        Measure(name="choosing them, clusters included", value=chosen, form="{:.0f} s"),
        Measure(name="their models, set-up included", value=found.seconds / 60, form="{:.1f} min", most=15),
        Measure(name="the same, processor time", value=found.processor_seconds / 60, form="{:.1f} min"),
        Measure(name="passes per model", value=found.passes, form="{:.1f}"),
        Measure(
            name="largest certificate / median effect",
            value=float(worst.max() / np.median(effects)),
            form="{:.1e}",
            most=1e-3,
        ),
        Measure(
            name="the same of the test point of least effects",
            value=float((worst / np.median(effects, axis=1)).max()),
            form="{:.1e}",
        ),
        Measure(name="a model here", value=ours, form="{:.2f} s"),
        Measure(name="a model by scikit-learn, tol 1e-8, warm", value=seconds, form="{:.1f} s"),
        Measure(name="scikit-learn slower by", value=seconds / ours, form="{:.0f} ×", least=60),
        Measure(name="the same in processor time", value=processor / ours_processor, form="{:.0f} ×"),
        Measure(name="largest difference / both bounds", value=max(shares), form="{:.2f}", most=1.0),
    ]


def halves_rows(problem: Problem, scores: np.ndarray) -> list[Measure]:
    """100 models of random halves, and how far the score of conjugate gradient can be from what is found."""
    n = problem.risk.num_examples
    groups = halves(num_examples=n, count=100, keep=0.5, seed=0)
    found = solve(problem, groups, RetrainSettings())
    columns = [found.changes.removals.index(group) for group in groups]
    intervals = [
        spearman_interval(
            np.array([-own[list(group)].sum() / n for group in groups]),
            found.changes.actual_change[row, columns],
            found.changes.bound[row, columns],
        )
        for row, own in enumerate(scores)
    ]
    mean = float(np.mean([one.value for one in intervals]))
    widest = max(one.highest - one.lowest for one in intervals)
    return [
        Measure(name="100 half-models", value=found.seconds / 60, form="{:.1f} min", most=2),
        Measure(name="the same, processor time", value=found.processor_seconds / 60, form="{:.1f} min"),
        Measure(name="passes per half-model", value=found.passes, form="{:.1f}"),
        Measure(name="LDS of cg, mean of the test points", value=mean, form="{:.4f}"),
        Measure(name="widest interval of an LDS", value=widest, form="{:.5f}", most=0.001),
    ]


def main() -> None:
    """Print the table."""
    quick = asks_for_quick(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    config = compose(STUDY)
    data = load_mnist(root=config["data"]["root"], num_train=QUICK_ROWS if quick else None)
    problem = problem_of(data, config["test_index"])
    scores = influences(problem)
    before = os.getloadavg()[0]
    measures = [*halves_rows(problem, scores), *study_rows(problem, scores, quick), *digits_rows()]
    show(console, f"Groups of MNIST, n = {problem.risk.num_examples:,}", measures)
    console.print(f"{machine()}; load {before:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
