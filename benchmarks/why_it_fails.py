"""The attempt that failed, before and after: `python -m benchmarks.why_it_fails FOLDER`.

Before: 6,000 images, a bias, no L2, SGD in float32, damped LiSSA, and retraining by the same SGD from scratch
in another order. After: the two changes that `repro diagnose experiment=report` names. Prints r and slope of
the 30, 200 and 500 points of largest predicted influence, and draws both figures into the folder. The 500
trainings take about 15 minutes.
"""

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pandas import DataFrame, concat
from rich.console import Console

from benchmarks.arguments import read_arguments
from benchmarks.report import Measure, machine, show
from erm.dataset import Dataset
from erm.sgd import StochasticFit
from erm.softmax import SoftmaxRisk
from influence.scores import influence_scores, most_influential
from plots.agreement import Agreement, agreement
from plots.leave_one_out import draw_leave_one_out
from plots.style import save
from repro.configuration.compose import Config, compose
from repro.problem import load_dataset, make_fit, make_risk, make_solver
from retrain.certified_softmax import CertifiedSoftmax
from retrain.ground_truth import ground_truth
from retrain.removal import leave_one_out
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache

TEST_INDEX = 8
TOPS = (30, 200, 500)
REPAIR = ("model.l2=0.01", "fit=newton")


@dataclass(frozen=True)
class Outcome:
    """Predicted and actual changes of the points of most predicted influence, largest first."""

    predicted: Float[np.ndarray, " k"]
    actual: Float[np.ndarray, " k"]

    def of_top(self, count: int) -> Agreement:
        return agreement(self.predicted[:count], self.actual[:count])


def main() -> None:
    """Print the table and draw the figures."""
    folder = read_arguments(__doc__, sys.argv[1:], target="FOLDER") or Path()
    console = Console(soft_wrap=True)
    for name, overrides in (("before", ()), ("after", REPAIR)):
        outcome = _outcome(compose(["experiment=report", *overrides]))
        measures = []
        for count in TOPS:
            found = outcome.of_top(count)
            measures += [
                Measure(name=f"top {count}: Pearson r", value=found.pearson, form="{:.4f}"),
                Measure(name=f"top {count}: slope", value=found.slope, form="{:.4f}"),
            ]
        show(console, f"{name}: experiment=report {' '.join(overrides)}", measures)
        _draw(outcome, folder / f"why_it_fails_{name}.png")
    console.print(machine())


def _outcome(config: Config) -> Outcome:
    dataset = load_dataset(config)
    risk = make_risk(config, dataset, torch.device("cpu"))
    fit = make_fit(config)
    theta = fit(risk).theta
    x, y = (torch.from_numpy(array[[TEST_INDEX]]) for array in (dataset.x_test, dataset.y_test))
    solution = make_solver(config).at(risk.curvature(theta))(risk.loss_gradient(theta, x, y)[0])
    scores = influence_scores(risk, theta, solution)
    points = most_influential(scores.influence, max(TOPS))
    actual = (
        _retrained_by_sgd(risk, fit, theta, points.tolist(), dataset)
        if isinstance(fit, StochasticFit)
        else _retrained_to_the_minimum(risk, theta, points.tolist(), dataset)
    )
    return Outcome(scores.predicted_change[points].numpy(), actual)


def _retrained_by_sgd(
    risk: SoftmaxRisk, fit: StochasticFit, theta: torch.Tensor, points: list[int], dataset: Dataset
) -> Float[np.ndarray, " k"]:
    """Every model from scratch, its examples in an order of its own."""
    x, y = (torch.from_numpy(array[[TEST_INDEX]]) for array in (dataset.x_test, dataset.y_test))
    before, changes = float(risk.losses(theta, x, y)), []
    for position, point in enumerate(points):
        kept = torch.arange(risk.num_examples) != point
        other = replace(fit, seed=fit.seed + 1 + position)(
            replace(risk, x=risk.x[kept], y=risk.y[kept])
        ).theta
        changes.append(float(risk.losses(other, x, y)) - before)
    return np.array(changes)


def _retrained_to_the_minimum(
    risk: SoftmaxRisk, theta: torch.Tensor, points: list[int], dataset: Dataset
) -> Float[np.ndarray, " k"]:
    x, y = (torch.from_numpy(array[[TEST_INDEX]]) for array in (dataset.x_test, dataset.y_test))
    with tempfile.TemporaryDirectory() as folder:
        cache = WeightCache(Path(folder), "benchmark", lambda _: None)
        CertifiedSoftmax(risk=risk, theta=theta, cache=cache, settings=RetrainSettings()).solve(
            leave_one_out(points), lambda _: None
        )
        truth = ground_truth(risk, theta, cache.parts(leave_one_out(points)), x, y)
    place = {int(index): row for row, index in enumerate(truth.points)}
    return truth.actual_change[0, [place[point] for point in points]]


def _draw(outcome: Outcome, path: Path) -> None:
    """One panel each for the top 30, 200 and 500."""
    tables, agreements = [], {}
    for count in TOPS:
        name = f"top {count}"
        tables.append(
            DataFrame(
                {
                    "method": name,
                    "test_index": TEST_INDEX,
                    "predicted_change": outcome.predicted[:count],
                    "actual_change": outcome.actual[:count],
                    "predicted_stderr": 0.0,
                    "certificate": 0.0,
                }
            )
        )
        agreements[name, TEST_INDEX] = outcome.of_top(count)

    save(draw_leave_one_out(concat(tables), agreements, {}), path)


if __name__ == "__main__":
    main()
