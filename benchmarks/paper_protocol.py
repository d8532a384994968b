"""The paper's protocol for its third panel beside minima: `python -m benchmarks.paper_protocol [FOLDER]`.

A hundredth of its steps, on digits: 5,000 of Adam train one hidden layer of 8 tanh units (λ = 0.01), the
rate falling twice; predictions are made there with damping 0.01; and training goes on without each of the 100
points of largest prediction. Then from the same place to the minimum, where the same points are predicted
again, and every model without one is a certified minimum. Each prediction against each truth, that of the
quadratic among them, which predictions short of a minimum are of: which of the two fails? With FOLDER the
figure is drawn there: paper_protocol.png.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.arguments import read_arguments
from benchmarks.report import machine
from erm.local_fit import LocalFit
from erm.lowest import lowest_of_matrix
from erm.risk import EmpiricalRisk
from plots.agreement import Agreement, agreement
from plots.style import BLUE, MUTED, NOTE_SIZE, save, styled
from repro.experiment import Experiment
from repro.listener import Listener
from retrain.continuation import SAME
from retrain.local_retrainer import LocallyCertified
from retrain.quadratic import QuadraticMinima
from retrain.removal import NOTHING, leave_one_out
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache

PROTOCOL = (
    "experiment=figure2_cnn", "data=digits", "model=network", "fit=adam", "fit.steps=5000",
    "fit.learning_rate=0.003", "fit.batch_size=100", "fit.decay_epochs=73", "test_index=misclassified",
)  # fmt: skip
DAMPING = 0.01
STEPS = (300, 3000)
"""After which truths are read: the paper's share of 5,000, and more."""


@dataclass(frozen=True)
class Compared:
    """One truth: the actual changes of the points, and what is found where nothing is removed."""

    name: str
    actual: Float[np.ndarray, " k"]
    null_control: float

    def against(self, predicted: Float[np.ndarray, " k"]) -> Agreement:
        return agreement(predicted, self.actual)


def predictions(risk: EmpiricalRisk, theta: Tensor, test: tuple[Tensor, Tensor], damping: float) -> Tensor:
    """Of every training point, by H + damping·I at θ."""
    matrix = risk.curvature(theta).matrix()
    matrix.diagonal().add_(damping)
    s_test = torch.linalg.solve(matrix, risk.loss_gradient(theta, *test)[0])
    return risk.per_example_gradient_dot(theta, s_test) / risk.num_examples


def of_quadratic(
    risk: EmpiricalRisk, theta: Tensor, rows: Tensor, test: tuple[Tensor, Tensor], folder: Path
) -> Compared:
    """What predictions at θ̃ are of, by the paper's section 4.2: minimisers of quadratics around it."""
    wanted, cache = leave_one_out(rows.tolist()), WeightCache(folder, "quadratic", print)
    retrainer = QuadraticMinima(
        risk=risk, theta=theta, cache=cache, settings=RetrainSettings(damping=DAMPING)
    )
    retrainer.solve(wanted, lambda progress: None)
    nothing = float(retrainer.changes(*test, [NOTHING]).actual_change[0, 0])
    return Compared("quadratic's own minima", retrainer.changes(*test, wanted).actual_change[0], nothing)


def measure(folder: Path, console: Console) -> tuple[dict[str, Float[np.ndarray, " k"]], list[Compared]]:
    """Both predictions and all truths of the protocol's own 100 points."""
    run = Experiment(*PROTOCOL, output_dir=folder / "run", listener=Listener())
    model, risk = run.train(), run.session.risk
    targets = run.session.targets(model)
    test = run.session.test_examples(targets)
    below = lowest_of_matrix(risk.curvature(model.theta).matrix()).value
    minimum = LocalFit()(risk, start=model.theta)
    console.print(
        f"after Adam: ‖∇R‖ = {model.facts.gradient_norm:.1e}, λ_min(H) = {below:.1e}; at the minimum: "
        f"{minimum.gradient_norm:.1e}, {minimum.smallest_eigenvalue:.1e}, ‖Δθ‖/‖θ‖ = "
        f"{float((minimum.theta - model.theta).norm() / minimum.theta.norm()):.1e}"
    )
    short = predictions(risk, model.theta, test, damping=DAMPING)
    rows = short.abs().sort(descending=True, stable=True).indices[:100].sort().values
    predicted = {"Adam's end": short, "the minimum": predictions(risk, minimum.theta, test, damping=0.0)}
    run.predict("exact", damping=DAMPING)
    truths = [of_quadratic(risk, model.theta, rows, test, folder / "quadratic")]
    for steps in STEPS:
        own = Experiment(*PROTOCOL, f"retrain.steps={steps}", output_dir=folder / "run")
        own.retrain()
        joined = own.agreement()
        table = joined.table.sort_values("train_index")
        assert table["train_index"].tolist() == rows.tolist()
        (point,) = joined.summary.values()
        truths.append(
            Compared(f"{steps:,} steps more", table["actual_change"].to_numpy(), point.null_control)
        )
    wanted = leave_one_out(rows.tolist())
    retrainer = LocallyCertified(
        risk=risk,
        theta=minimum.theta,
        cache=WeightCache(folder / "minima", "minimum", console.print),
        settings=RetrainSettings(),
    )
    retrainer.solve(wanted, lambda progress: None)
    changes, nothing = retrainer.changes(*test, wanted), retrainer.changes(*test, [()])
    console.print(
        f"minima: {changes.truth.count(SAME)} of {len(wanted)} in the same basin, largest certificate "
        f"{changes.bound.max():.1e}, smallest change {np.abs(changes.actual_change).min():.1e}"
    )
    null = float(nothing.actual_change[0, 0])
    truths.append(Compared("certified minima", changes.actual_change[0], null))
    return {name: found[rows].numpy() for name, found in predicted.items()}, truths


def draw(predicted: dict[str, Float[np.ndarray, " k"]], truths: list[Compared]) -> Figure:
    """The paper's panel, and the same points at minima."""
    figure = Figure(figsize=(6.6, 2.4), layout="constrained")
    cases = (("Adam's end", truths[1]), ("Adam's end", truths[0]), ("the minimum", truths[-1]))
    axes = figure.subplots(1, len(cases), sharex=True, sharey=True)
    shown = [*predicted.values(), *(truth.actual for truth in truths)]
    most = 1.05 * max(float(np.abs(one).max()) for one in shown)
    for ax, (name, truth) in zip(axes, cases, strict=True):
        ax.plot([-most, most], [-most, most], color=MUTED, lw=0.8)
        ax.scatter(truth.actual, predicted[name], s=9, color=BLUE, alpha=0.5, linewidths=0)
        found = truth.against(predicted[name])
        ax.text(
            0.04, 0.96, f"r {found.pearson:.4f}\nslope {found.slope:.3f}", transform=ax.transAxes, va="top",
            fontsize=NOTE_SIZE,
        )  # fmt: skip
        ax.set(xlim=(-most, most), ylim=(-most, most), aspect="equal")
        ax.set(xlabel=f"actual: {truth.name}", ylabel=f"predicted at {name}")
    return figure


def main() -> None:
    """Print which prediction agrees with which truth."""
    target = read_arguments(__doc__, sys.argv[1:], target="FOLDER")
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory() as name:
        predicted, truths = measure(target or Path(name), console)
    titles = (f"r, slope: {name}" for name in predicted)
    table = Table("truth", *titles, "null control", "typical change", box=MARKDOWN)
    for truth in truths:
        found = [truth.against(one) for one in predicted.values()]
        cells = [f"{one.pearson:.4f}, {one.slope:.3f}" for one in found]
        table.add_row(
            truth.name, *cells, f"{truth.null_control:.1e}", f"{np.median(np.abs(truth.actual)):.1e}"
        )
    console.print(table)
    if target is not None:
        with styled():
            figure = draw(predicted, truths)
            save(figure, target / "paper_protocol.png")
    console.print(machine())


if __name__ == "__main__":
    main()
