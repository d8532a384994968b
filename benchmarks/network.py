"""A network's figure at a true minimum, on digits: `python -m benchmarks.network`.

One hidden layer of 8 tanh units. All four stages with λ = 0.01 and the 100 points of largest predicted
influence, each model held against the tolerance, its label and its local certificate; 20 of them solved again
by scipy from θ̂, by L-BFGS and then MINPACK's hybrid method; the same points with λ = 0.001, where minima are
flat; and softmax regression by the path of the network against the closed form, 50 points.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from scipy import optimize

from benchmarks.arguments import read_arguments
from benchmarks.report import Measure, machine, show
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk
from repro.agreement import JoinedChanges
from repro.experiment import Experiment
from retrain.certified_softmax import CertifiedSoftmax
from retrain.local_retrainer import LocallyCertified
from retrain.removal import leave_one_out
from retrain.removed_risks import without_rows
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache

NETWORK = ("data=digits", "model=network", "top_k=100")
AGAIN = 20
"""Models that scipy solves too."""
SOFTMAX = 50
"""Points of softmax regression."""
POWER = "{:.1e}"


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """What work took."""

    clock: float
    processor: float


def figure(folder: Path, *words: str) -> tuple[Experiment, JoinedChanges, Seconds]:
    """The four stages, and the seconds that they took."""
    started, used = time.perf_counter(), time.process_time()
    run = Experiment(*NETWORK, *words, output_dir=folder)
    run.train()
    run.predict("exact")
    run.retrain()
    run.plot()
    took = Seconds(clock=time.perf_counter() - started, processor=time.process_time() - used)
    return run, run.agreement(), took


def of_figure(joined: JoinedChanges, seconds: Seconds, *, goals: bool) -> list[Measure]:
    """What a figure is held against."""
    ((_, point),) = joined.summary.items()
    found, models = point.methods["exact"].agreement, joined.retrainer.models()
    basins = point.basins
    assert basins is not None
    points = joined.table["train_index"].nunique()
    return [
        Measure(name="all four stages, by the clock", value=seconds.clock, form="{:.0f} s"),
        # Alone on a machine the clock shows about as much or less.
        Measure(
            name="of the processor", value=seconds.processor, form="{:.0f} s", most=30 if goals else None
        ),
        Measure(
            name="largest gradient norm", value=models.largest_norm, form=POWER, most=1e-9 if goals else None
        ),
        Measure(name="passes per model", value=float(models.passes.mean()), form="{:.1f}", most=10),
        Measure(name="same basin", value=basins.same_basin, form="{:.0f}", least=points if goals else None),
        Measure(name="left it", value=basins.left_it, form="{:.0f}"),
        Measure(name="undecided", value=basins.undecided, form="{:.0f}"),
        Measure(
            name="Pearson r over the same basin",
            value=found.pearson,
            form="{:.4f}",
            least=0.999 if goals else None,
        ),
        Measure(name="slope over the same basin", value=found.slope, form="{:.3f}"),
        Measure(name="largest local certificate", value=point.max_certificate, form=POWER),
        Measure(
            name="it holds unless the Hessian changes so many times faster than measured",
            value=basins.smallest_margin,
            form=POWER,
            least=1,
        ),
    ]


def of_scipy(run: Experiment, joined: JoinedChanges) -> list[Measure]:
    """The largest difference from scipy's losses, in certificates; and how far scipy itself may be."""
    risk, theta = joined.risk, joined.model.theta
    x, y = run.session.test_examples(run.session.targets(joined.model))
    rows = [(int(index),) for index in joined.table["train_index"][:AGAIN]]
    truth = joined.retrainer.changes(x, y, rows)
    before, ratios, own = float(risk.losses(theta, x, y)[0]), [], []
    for column, removed in enumerate(truth.removals):
        at, norm = _by_scipy(without_rows(risk, removed), theta)
        difference = abs(float(risk.losses(at, x, y)[0]) - before - truth.actual_change[0, column])
        ratios.append(difference / truth.bound[0, column])
        own.append(norm)
    name = f"difference of {len(rows)} losses from scipy's, in certificates"
    return [
        Measure(name=name, value=max(ratios), form="{:.3f}", most=1),
        Measure(name="gradient norms that scipy left", value=max(own), form=POWER),
    ]


def _by_scipy(risk: EmpiricalRisk, start: torch.Tensor) -> tuple[torch.Tensor, float]:
    def value_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = risk.value_and_gradient(torch.from_numpy(theta))
        return float(value), gradient.numpy()

    def gradient(theta: np.ndarray) -> np.ndarray:
        found: np.ndarray = risk.gradient(torch.from_numpy(theta)).numpy()
        return found

    def hessian(theta: np.ndarray) -> np.ndarray:
        found: np.ndarray = risk.curvature(torch.from_numpy(theta)).matrix().numpy()
        return found

    options = {"maxiter": 3000, "maxfun": 6000, "ftol": 0.0, "gtol": 1e-12, "maxcor": 30}
    near = optimize.minimize(  # type: ignore[call-overload]
        value_and_gradient, start.numpy(), jac=True, method="L-BFGS-B", options=options
    ).x
    end = torch.from_numpy(optimize.root(gradient, near, jac=hessian, tol=1e-12).x)
    return end, float(risk.gradient(end).norm())


def of_softmax(folder: Path) -> list[Measure]:
    """By both paths: the largest difference, in sums of both certificates."""
    run = Experiment("data=digits", "fit.tolerance=1e-11", output_dir=folder / "run")
    theta, risk = run.train().theta, run.session.risk
    assert isinstance(risk, SoftmaxRisk)
    settings, rows = RetrainSettings(), leave_one_out(range(SOFTMAX))
    examples = run.session.test_examples([0])
    one, other = (
        kind(risk=risk, theta=theta, cache=WeightCache(folder / name, "key", print), settings=settings)
        for kind, name in ((CertifiedSoftmax, "proven"), (LocallyCertified, "local"))
    )
    for retrainer in (one, other):
        retrainer.solve(rows, lambda progress: None)
    proven, found = one.changes(*examples, rows), other.changes(*examples, rows)
    difference = np.abs(proven.actual_change - found.actual_change) / (proven.bound + found.bound)
    return [
        Measure(
            name=f"softmax, {SOFTMAX} points: largest proven certificate",
            value=proven.bound.max(),
            form=POWER,
        ),
        Measure(name="largest local certificate", value=found.bound.max(), form=POWER),
        Measure(name="largest difference, in both", value=difference.max(), form="{:.3f}", most=1),
    ]


def main() -> None:
    """Print a table for each."""
    read_arguments(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, joined, seconds = figure(folder / "0.01")
        show(console, "digits, 8 units, λ = 0.01", of_figure(joined, seconds, goals=True))
        show(console, "scipy from the same start", of_scipy(run, joined))
        _, joined, seconds = figure(folder / "0.001", "model.l2=0.001")
        show(console, "digits, 8 units, λ = 0.001", of_figure(joined, seconds, goals=False))
        show(console, "softmax regression by this path", of_softmax(folder))
    console.print(machine())


if __name__ == "__main__":
    main()
