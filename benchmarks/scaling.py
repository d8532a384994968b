"""How retraining grows with points and examples: `python -m benchmarks.scaling [FIGURE.png]`.

Draws seconds against the number of points left out (of all 55,000 training examples) and against the number
of training examples (with 500 points left out), each with the line of proportional growth.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.arguments import read_arguments
from benchmarks.mnist import Trained, train_mnist
from benchmarks.report import Measure, machine, show
from plots.style import BLUE, MUTED, save, styled
from retrain.certified_softmax import CertifiedSoftmax
from retrain.removal import leave_one_out
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache

POINTS = (125, 250, 500, 1000, 2000)
EXAMPLES = (5500, 13750, 27500, 55000)
POINTS_OF_EXAMPLES = 500
SECOND_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class Curve:
    """Seconds against a size."""

    name: str
    sizes: tuple[int, ...]
    seconds: list[float]


def seconds_of(trained: Trained, num_points: int) -> float:
    """The whole stage into an empty cache, set-up included."""
    points = trained.by_influence[:num_points].tolist()
    with tempfile.TemporaryDirectory() as folder:
        cache = WeightCache(Path(folder), "benchmark", lambda _: None)
        started = time.perf_counter()
        CertifiedSoftmax(
            risk=trained.risk, theta=trained.theta, cache=cache, settings=RetrainSettings()
        ).solve(leave_one_out(points), lambda _: None)
        return time.perf_counter() - started


def draw(curves: list[Curve], target: Path) -> None:
    """Two panels with logarithmic axes and the line of proportional growth through the last point."""
    with styled():
        figure = Figure(figsize=(6.5, 2.9), layout="constrained")
        for axes, curve in zip(figure.subplots(1, 2), curves, strict=True):
            share = [curve.seconds[-1] * size / curve.sizes[-1] for size in curve.sizes]
            axes.loglog(curve.sizes, share, color=MUTED, linewidth=0.8, linestyle="--", label="proportional")
            axes.loglog(curve.sizes, curve.seconds, color=BLUE, marker="o", markersize=4, label="measured")
            axes.set(xlabel=curve.name, ylabel="Seconds", xticks=curve.sizes)
            axes.set_xticklabels([f"{size:,}" for size in curve.sizes])
            shown = [tick for tick in SECOND_TICKS if share[0] / 2 < tick < 2 * share[-1]]
            axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
            axes.minorticks_off()
            axes.legend(frameon=False)
    save(figure, target)


def main() -> None:
    """Print the table and draw the figure."""
    target = read_arguments(__doc__, sys.argv[1:], target="FIGURE.png") or Path("scaling.png")
    whole = train_mnist()
    by_points = Curve("Points left out", POINTS, [seconds_of(whole, count) for count in POINTS])
    by_examples = Curve(
        "Training examples",
        EXAMPLES,
        [seconds_of(train_mnist(count), POINTS_OF_EXAMPLES) for count in EXAMPLES],
    )
    draw([by_points, by_examples], target)
    console = Console(soft_wrap=True)
    for curve in (by_points, by_examples):
        measures = []
        for position, (size, seconds) in enumerate(zip(curve.sizes, curve.seconds, strict=True)):
            measures.append(Measure(name=f"{size:,}", value=seconds, form="{:.1f} s"))
            if position:
                growth = size / curve.sizes[position - 1]
                ratio = seconds / curve.seconds[position - 1]
                name = f"times {growth:.1f}: seconds times"
                measures.append(Measure(name=name, value=ratio, most=round(1.1 * growth, 2)))
        show(console, f"Seconds against {curve.name.lower()}", measures)
    console.print(machine())


if __name__ == "__main__":
    main()
