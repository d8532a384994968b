"""What moves LiSSA's slope away from 1, each cause by itself: `python -m benchmarks.slope [DATA ...]`.

Least squares of actual on predicted changes, with the paper's settings and 1, 10 and 50 repeats. Truncation:
s is the series of as many terms with H itself, so there is no noise. Noise: what the series lacks is put back
into LiSSA's s, so there is nothing but noise. Each over the points of largest exact prediction, which no
noise selects, and over those of its own largest predictions, as the figure selects them, in the mean of 20
runs (4 of 50 repeats). DATA is digits and mnist. All points that are selected are retrained: some 5 minutes
on MNIST.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from benchmarks.arguments import read_arguments
from benchmarks.report import Measure, machine, show
from erm.softmax import SoftmaxRisk
from influence.cg import CG
from influence.lissa import LiSSA
from influence.scores import most_influential
from influence.solution import damped_product
from plots.agreement import agreement
from repro.configuration.compose import compose
from repro.problem import load_dataset, make_fit, make_risk, test_indices
from retrain.certified_softmax import CertifiedSoftmax
from retrain.ground_truth import ground_truth
from retrain.removal import leave_one_out
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache

SEEDS = range(20)
REPEATS = (1, 10, 50)
LANCZOS_STEPS = 150


@dataclass(frozen=True)
class Problem:
    """A fitted model and the test point that is explained."""

    risk: SoftmaxRisk
    theta: Float[Tensor, " p"]
    x_test: Float[Tensor, "1 features"]
    y_test: Tensor
    top_k: int

    def predicted(self, s: Float[Tensor, "r p"]) -> Float[Tensor, "r n"]:
        """Predicted changes of all training points, for each s."""
        parts = [self.risk.per_example_gradient_dots(self.theta, part) for part in torch.split(s, 20)]
        return torch.cat(parts) / self.risk.num_examples

    def actual(self, points: Sequence[int]) -> Float[np.ndarray, " n"]:
        """Actual changes of these training points, NaN for the others."""
        changes = np.full(self.risk.num_examples, np.nan)
        with tempfile.TemporaryDirectory() as folder:
            cache = WeightCache(Path(folder), "key", lambda _: None)
            CertifiedSoftmax(risk=self.risk, theta=self.theta, cache=cache, settings=RetrainSettings()).solve(
                leave_one_out(points), lambda _: None
            )
            truth = ground_truth(
                self.risk, self.theta, cache.parts(leave_one_out(points)), self.x_test, self.y_test
            )
        changes[truth.points] = truth.actual_change[0]
        return changes


def series_by_lanczos(
    product: Callable[[Float[Tensor, " p"]], Float[Tensor, " p"]],
    v: Float[Tensor, " p"],
    scale: float,
    depth: int,
) -> Float[Tensor, " p"]:
    """(1/scale) Σⱼ (I − A/scale)ʲ v over j = 0 … depth, what LiSSA computes in the mean.

    By Lanczos with full reorthogonalisation, which takes far fewer products than there are terms: the series
    is f(A)v with f(x) = (1 − (1 − x/scale)^(depth + 1))/x.
    """
    basis, diagonal, off_diagonal = [v / v.norm()], [], []
    for _ in range(min(LANCZOS_STEPS, len(v))):
        image = product(basis[-1])
        diagonal.append(float(image.dot(basis[-1])))
        known = torch.stack(basis)
        for _ in range(2):
            image = image - known.T @ (known @ image)
        off_diagonal.append(float(image.norm()))
        if off_diagonal[-1] < 1e-12 * abs(diagonal[0]):
            break
        basis.append(image / off_diagonal[-1])
    inner = off_diagonal[: len(diagonal) - 1]
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))
    weights = vectors @ ((1 - (1 - values / scale) ** (depth + 1)) / values * vectors[0])
    return float(v.norm()) * torch.stack(basis[: len(diagonal)]).T @ torch.from_numpy(weights).to(v)


def load(data: str) -> Problem:
    """The problem of a run on this data set, and its first test point."""
    config = compose([f"data={data}"])
    dataset = load_dataset(config)
    risk = make_risk(config, dataset, torch.device("cpu"))
    assert isinstance(risk, SoftmaxRisk)
    theta = make_fit(config)(risk).theta
    target = test_indices(config, dataset, risk, theta)[0]
    x, y = (torch.from_numpy(array[[target]]) for array in (dataset.x_test, dataset.y_test))
    return Problem(risk, theta, x, y, min(config.top_k, risk.num_examples))


def measures(problem: Problem) -> list[Measure]:
    """Mean slopes, their spread over runs, and what noise and selection do to them."""
    curvature, lissa = problem.risk.curvature(problem.theta), LiSSA()
    v = problem.risk.loss_gradient(problem.theta, problem.x_test, problem.y_test)[0]
    series = series_by_lanczos(damped_product(curvature, lissa.damping), v, lissa.scale, lissa.depth)
    exact, truncated = problem.predicted(torch.stack([CG().at(curvature)(v).value, series]))
    repeats = [LiSSA(seed=seed).at(curvature)(v).repeats for seed in SEEDS]
    noisy = problem.predicted(torch.cat([found for found in repeats if found is not None]))
    means = {count: noisy.view(-1, count, len(exact)).mean(1) for count in REPEATS}
    # Of single repeats no more than of means of ten: each selects points that are then to be retrained.
    means = {count: rows[: len(SEEDS)] for count, rows in means.items()}

    def top(predicted: Float[Tensor, " n"]) -> list[int]:
        found: list[int] = most_influential(predicted, problem.top_k).tolist()
        return found

    shifted = {count: rows - truncated + exact for count, rows in means.items()}
    every = [exact, truncated, *(row for rows in (*means.values(), *shifted.values()) for row in rows)]
    actual = problem.actual(sorted({point for row in every for point in top(row)}))

    def slope(predicted: Float[Tensor, " n"], points: list[int]) -> float:
        return agreement(predicted[points].numpy(), actual[points]).slope

    fixed = top(exact)
    table = [
        Measure(name="exact", value=slope(exact, fixed), form="{:.3f}"),
        Measure(name="truncation alone", value=slope(truncated, top(truncated)), form="{:.3f}"),
    ]
    for count in REPEATS:
        for cause, rows in (("noise alone", shifted[count]), ("LiSSA", means[count])):
            for where, points in (("exact's points", lambda _: fixed), ("its own points", top)):
                slopes = [slope(row, points(row)) for row in rows]
                name = f"{cause}, {count} repeats, {where}"
                table.append(Measure(name=name, value=float(np.mean(slopes)), form="{:.3f}"))
        table.append(
            Measure(
                name=f"LiSSA, {count} repeats, from run to run", value=float(np.std(slopes)), form="± {:.3f}"
            )
        )
    return table


def main() -> None:
    """Print a table for each data set."""
    read_arguments(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    for data in ("digits", "mnist"):
        show(console, f"Slope of actual on predicted, {data}", measures(load(data)))
    console.print(machine())


if __name__ == "__main__":
    main()
