"""Newton steps and rescaled influence beside plain influence: `python -m benchmarks.estimators`.

In one run on MNIST, against retraining: the 500 points of largest influence on test point 8, and random
groups of 5 % of the rows. Seconds are beyond the explicit Hessian, which both methods need, and of processor
time, on all threads; those of retraining tell how fast the machine is that day.
"""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from benchmarks.arguments import read_arguments
from benchmarks.memory import watch_memory
from benchmarks.mnist import Trained, train_mnist
from benchmarks.report import Measure, machine, show
from influence.cg import CG
from influence.group_steps import group_steps
from influence.newton_step import NewtonStep, NewtonSteps
from influence.point_steps import PointSteps, point_steps
from influence.scores import influence_scores
from influence.without_rows import Inverse, LossesAtTest, RowRemovals, row_removals
from repro.functions import CertifiedChanges, in_order, leave_out
from retrain.certify import certified_changes
from retrain.removal import Removal

T = TypeVar("T")
POINTS, GROUPS, SHARE = 500, 50, 0.05


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and its processor seconds."""
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def first_order(trained: Trained) -> Float[Tensor, " n"]:
    """Plain influence: the predicted change of every training point."""
    risk, theta = trained.risk, trained.theta
    v = risk.loss_gradient(theta, trained.x_test, trained.y_test)[0]
    return influence_scores(risk, theta, CG().at(risk.curvature(theta))(v)).predicted_change


def of_points(
    removals: RowRemovals, trained: Trained, rows: Tensor
) -> tuple[Inverse, PointSteps, Float[Tensor, " m"], Float[Tensor, " m"]]:
    """M⁻¹, the steps, and what newton_step and rif predict."""
    inverse = removals.inverse(scales_l2=False)
    steps = point_steps(removals, inverse, rows)
    test = LossesAtTest.of(removals, trained.x_test, trained.y_test)
    logits = steps.logits(test)
    return inverse, steps, test.changes(logits)[0], test.linear_changes(logits)[0]


def as_method(removals: RowRemovals, inverse: Inverse) -> NewtonSteps:
    """The method with the factor that is there."""
    return NewtonSteps(settings=NewtonStep(), removals=removals, inverse=inverse, progress=lambda *_: None)


def random_groups(num_examples: int) -> list[Removal]:
    generator = np.random.default_rng(0)
    size = round(SHARE * num_examples)
    drawn = (generator.choice(num_examples, size=size, replace=False) for _ in range(GROUPS))
    return [tuple(sorted(rows.tolist())) for rows in drawn]


def certified(
    trained: Trained, predictor: NewtonSteps, steps: Float[Tensor, "B p"], removals: list[Removal]
) -> tuple[CertifiedChanges, Float[Tensor, " B"]]:
    """What is proved of the steps, in the order of the removals, and the corrected predictions."""
    test = trained.x_test, trained.y_test
    changes, gradients = certified_changes(
        trained.risk, trained.theta, trained.theta + steps, removals, *test
    )
    found = in_order(changes, removals, trained.theta)
    return found, (found.actual_change + predictor.corrections(steps, gradients, *test))[0]


def largest(predicted: Tensor, actual: Tensor) -> float:
    return float((predicted - actual).abs().max())


def main() -> None:
    """Print the tables."""
    read_arguments(__doc__, sys.argv[1:])
    console = Console(soft_wrap=True)
    trained = train_mnist()
    risk, theta = trained.risk, trained.theta
    plain = first_order(trained)
    rows = trained.by_influence[:POINTS]
    points: list[Removal] = [(row,) for row in rows.tolist()]
    groups = random_groups(risk.num_examples)
    removals, hessian = timed(lambda: row_removals(risk, theta, risk.curvature(theta)))
    with watch_memory() as peak:
        (inverse, steps, stepped, rescaled), predicting = timed(lambda: of_points(removals, trained, rows))
    predictor = as_method(removals, inverse)
    (proven, adjoint), certifying = timed(lambda: certified(trained, predictor, steps.steps(), points))
    everything = torch.arange(risk.num_examples)
    _, all_points = timed(lambda: point_steps(removals, inverse, everything))
    of_groups, stepping = timed(lambda: group_steps(removals, inverse, groups, scales_l2=False))
    proven_groups, adjoint_groups = certified(trained, predictor, of_groups, groups)
    del removals, inverse, steps, predictor
    truth, retraining = timed(lambda: leave_out(risk, theta, points, trained.x_test, trained.y_test))
    of_truth, retraining_groups = timed(
        lambda: leave_out(risk, theta, groups, trained.x_test, trained.y_test)
    )
    actual, own = truth.actual_change[0], proven.certificate[0]
    error = largest(stepped, actual)
    show(
        console,
        f"Top {POINTS} single points of MNIST",
        [
            Measure(name="influence, largest error", value=largest(plain[rows], actual), form="{:.1e}"),
            Measure(
                name="newton_step, largest error", value=largest(adjoint, actual), form="{:.1e}", most=2e-5
            ),
            Measure(name="the same, correction=none", value=error, form="{:.1e}"),
            Measure(name="rif, largest error", value=largest(rescaled, actual), form="{:.1e}", most=5e-5),
            Measure(name="explicit Hessian", value=hessian, form="{:.1f} s"),
            Measure(name="factor, inverse and both predictions", value=predicting, form="{:.1f} s", most=10),
            Measure(name="the same / retraining", value=predicting / retraining, form="{:.2f}", most=0.42),
            Measure(name="certificates of the steps", value=certifying, form="{:.1f} s"),
            Measure(name="steps of all 55,000 points", value=all_points, form="{:.1f} s"),
            Measure(name="retraining the 500", value=retraining, form="{:.1f} s"),
            Measure(name="largest certificate of a step", value=float(own.max()), form="{:.1e}"),
            Measure(
                name="largest error / certificate",
                value=float(((stepped - actual).abs() / own).max()),
                form="{:.3f}",
                most=1.0,
            ),
            Measure(name="peak memory above the Hessian", value=peak.gib_above_start, form="{:.2f} GiB"),
        ],
    )
    summed = torch.stack([plain[list(group)].sum() for group in groups])
    first, second, third = (
        largest(found, of_truth.actual_change[0])
        for found in (summed, proven_groups.actual_change[0], adjoint_groups)
    )
    show(
        console,
        f"{GROUPS} random groups of {SHARE:.0%} of MNIST",
        [
            Measure(name="influence, largest error", value=first, form="{:.1e}"),
            Measure(name="newton_step, largest error", value=third, form="{:.1e}"),
            Measure(name="smaller by", value=first / third, form="{:.0f} ×", least=10),
            Measure(name="the same, correction=none", value=second, form="{:.1e}"),
            Measure(name="smaller by", value=first / second, form="{:.0f} ×", least=10),
            Measure(name="steps", value=stepping, form="{:.1f} s"),
            Measure(name="retraining", value=retraining_groups, form="{:.1f} s"),
            Measure(
                name="largest certificate of a step",
                value=float(proven_groups.certificate.max()),
                form="{:.1e}",
            ),
        ],
    )
    console.print(machine())


if __name__ == "__main__":
    main()
