"""Leave-one-out models against what a user would do instead: `python -m benchmarks.leave_one_out`.

In one run on MNIST, so that its ratios do not depend on how fast the machine is that day: scikit-learn's
warm-started fits on a sample of points, as the paper's code makes them; the bare float32 matrix products that
a gradient pass consists of; and the retrain stage, to certificates of 1e-6, set-up included.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression

from benchmarks.arguments import read_arguments
from benchmarks.memory import watch_memory
from benchmarks.mnist import Trained, train_mnist
from benchmarks.report import Measure, machine, show
from erm.softmax import SoftmaxRisk
from erm.softmax_hessian import cross_entropy_hessian_sum
from retrain.certificate import loss_error_bound
from retrain.certified_softmax import CertifiedSoftmax
from retrain.preconditioner import KEPT_CURVATURE
from retrain.prepare import removal_problem
from retrain.removal import RemovalBatch, leave_one_out
from retrain.settings import RetrainingProgress, RetrainSettings
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache

BATCH = 500
SKLEARN_POINTS = 5


def seconds_of(work: Callable[[], object], repeats: int = 3) -> float:
    """The median over some repeats, after one that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def solve(trained: Trained, points: list[int], folder: Path) -> tuple[float, float, RetrainedWeights]:
    """Run the stage into an empty cache: seconds in all, seconds of set-up, and what it stored."""
    started, first_batch = time.perf_counter(), list[float]()

    def report(progress: RetrainingProgress) -> None:
        if progress.stage == "solving" and not first_batch:
            first_batch.append(time.perf_counter() - started)

    cache = WeightCache(folder, "benchmark", lambda _: None)
    CertifiedSoftmax(risk=trained.risk, theta=trained.theta, cache=cache, settings=RetrainSettings()).solve(
        leave_one_out(points), report
    )
    total = time.perf_counter() - started
    (weights,) = list(cache.parts(leave_one_out(points)))
    return total, first_batch[0], weights


def scikit_learn(trained: Trained, points: list[int]) -> tuple[float, float]:
    """Seconds and largest gradient norm of warm-started fits without each of the points."""
    risk = trained.risk
    seconds, norms = [], []
    for point in points:
        kept = np.arange(risk.num_examples) != point
        x, y = risk.x.numpy()[kept], risk.y.numpy()[kept]
        model = LogisticRegression(
            C=1 / (risk.l2 * len(x)), fit_intercept=False, tol=1e-8, max_iter=10_000, warm_start=True
        )
        model.classes_ = np.arange(risk.num_classes)
        model.coef_ = risk.weights(trained.theta).numpy().copy()
        model.intercept_ = np.zeros(risk.num_classes)
        started = time.perf_counter()
        model.fit(x, y)
        seconds.append(time.perf_counter() - started)
        without = type(risk)(
            x=torch.from_numpy(x), y=torch.from_numpy(y), num_classes=risk.num_classes, l2=risk.l2
        )
        norms.append(float(without.gradient(torch.from_numpy(model.coef_).flatten()).norm()))
    return float(np.median(seconds)), max(norms)


def bare_pair(risk: SoftmaxRisk) -> float:
    """Seconds of the two float32 products of a gradient pass over `BATCH` models, and nothing else."""
    x = risk.x[:, (risk.x != 0).any(0)].float()
    columns = torch.randn(x.shape[1], BATCH * risk.num_classes)

    def pair() -> object:
        return (x @ columns).T @ x

    return seconds_of(pair)


def bare_hessian(risk: SoftmaxRisk) -> float:
    """Seconds of the flops of H at the speed of one large product: K(K − 1)/2 blocks, half of each."""
    x, num_classes = risk.x[:, (risk.x != 0).any(0)].float(), risk.num_classes
    return seconds_of(lambda: x.T @ x) / 2 * num_classes * (num_classes - 1) / 2


def main() -> None:
    """Print the table."""
    read_arguments(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    trained = train_mnist()
    points = trained.by_influence[: 2 * BATCH].tolist()
    peer_seconds, peer_norm = scikit_learn(trained, points[:: BATCH // SKLEARN_POINTS][:SKLEARN_POINTS])
    with tempfile.TemporaryDirectory() as name:
        with watch_memory() as peak:
            first, setup, weights = solve(trained, points[:BATCH], Path(name) / "first")
        again, setup_again, _ = solve(trained, points[BATCH:], Path(name) / "further")
    further = (again - setup_again) / BATCH
    problem = removal_problem(trained.risk, trained.theta)
    differences = torch.from_numpy(weights.differences)[:, :, problem.active]
    removals = RemovalBatch(weights.removals, problem.x.device)
    pair = bare_pair(trained.risk)
    one_pass = seconds_of(lambda: problem.estimate(removals, differences))
    certifying = seconds_of(lambda: problem.measure(removals, differences), repeats=1)
    x, probabilities = problem.x.float(), problem.probabilities.float()
    hessian = seconds_of(lambda: cross_entropy_hessian_sum(x, probabilities, kept=KEPT_CURVATURE), repeats=1)
    certificates = loss_error_bound(trained.x_test, torch.from_numpy(weights.distance_bounds))
    show(
        console,
        f"{BATCH} leave-one-out models of MNIST",
        [
            Measure(name="scikit-learn, a model", value=peer_seconds, form="{:.2f} s"),
            Measure(name="scikit-learn, largest gradient norm", value=peer_norm, form="{:.0e}"),
            Measure(name="here, a model of the first 500", value=first / BATCH, form="{:.4f} s"),
            Measure(
                name="here, a model of a further 500", value=(again - setup_again) / BATCH, form="{:.4f} s"
            ),
            Measure(
                name="here, largest gradient norm",
                value=float(weights.gradient_norms.max()),
                form="{:.0e}",
                most=peer_norm,
            ),
            Measure(
                name="first 500, set-up included: faster by",
                value=peer_seconds / (first / BATCH),
                form="{:.0f} ×",
                least=120,
            ),
            Measure(
                name="further 500: faster by",
                value=peer_seconds / further,
                form="{:.0f} ×",
                least=180,
            ),
            Measure(name="largest certificate", value=float(certificates.max()), form="{:.1e}", most=1e-6),
            Measure(name="bare float32 pair", value=pair, form="{:.2f} s"),
            Measure(name="float32 pass / bare pair", value=one_pass / pair, most=1.2),
            Measure(name="float64 pass / bare pair", value=certifying / pair),
            Measure(name="passes per model", value=float(weights.passes.mean()), most=3.5),
            Measure(name="set-up", value=setup, form="{:.1f} s"),
            Measure(name="whole stage", value=first, form="{:.1f} s"),
            Measure(name="whole stage / bare pair", value=first / pair, most=7),
            Measure(name="building H / its bare flops", value=hessian / bare_hessian(trained.risk), most=2),
            Measure(name="peak memory above the data", value=peak.gib_above_start, form="{:.2f} GiB", most=3),
        ],
    )
    console.print(machine())


if __name__ == "__main__":
    main()
