"""Small problems that are hard on a certificate: few examples, heavy tails, little L2, long steps.

Everything is drawn from a seed, so a failure names a problem that can be made again.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from erm.fit import NewtonFit
from erm.softmax import SoftmaxRisk, with_bias
from retrain.ground_truth import ground_truth
from retrain.removal import Removal, leave_one_out
from retrain.settings import L2Scaling, RetrainSettings
from retrain.weights import WeightCache
from tests.problems import solve_missing
from tests.sixty_digits import ExactRisk, Rows, exactly, loss, plus


@dataclass(frozen=True, kw_only=True)
class HardProblem:
    """Training examples without the bias column, and what the model is."""

    name: str
    x: np.ndarray
    y: np.ndarray
    num_classes: int
    l2: float
    bias: bool = False

    def risk(self) -> SoftmaxRisk:
        x = with_bias(torch.from_numpy(np.asarray(self.x, dtype=np.float64)), self.bias)
        y = torch.from_numpy(np.asarray(self.y, dtype=np.int64))
        return SoftmaxRisk(x=x, y=y, num_classes=self.num_classes, l2=self.l2, bias=self.bias)


def draw(seed: int) -> HardProblem:
    """n from 2 to 11, d from 1 to 3, K from 2 to 4, λ from 1e-8 to 0.1, features of four kinds up to 1e3."""
    rng = np.random.default_rng(seed)
    n, d, num_classes = int(rng.integers(2, 12)), int(rng.integers(1, 4)), int(rng.integers(2, 5))
    kind = seed % 4
    if kind == 0:
        x = rng.integers(-6, 7, size=(n, d)).astype(float)
    elif kind == 1:
        x = rng.standard_t(1.5, size=(n, d))
    elif kind == 2:
        x = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-2, 2, size=(n, 1))
    else:
        x = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3, 3)
    return HardProblem(
        name=f"seed {seed}",
        x=np.clip(x, -1e3, 1e3),
        y=rng.integers(0, num_classes, size=n),
        num_classes=num_classes,
        l2=float(10.0 ** rng.uniform(-8, -1)),
        bias=bool(rng.integers(0, 2)),
    )


@dataclass(frozen=True, kw_only=True)
class Held:
    """One stored leave-one-out model beside 60-digit arithmetic."""

    problem: str
    removal: Removal
    recorded: float
    """‖∇R₋ᵢ‖ as recorded."""
    claimed: float
    """The largest ‖∇R₋ᵢ‖ that record and rounding bound leave room for: λ times the distance bound."""
    true: float
    """‖∇R₋ᵢ(θ̂ + Δ)‖ at Δ as stored."""
    tolerance: float
    excess: float
    """The largest (error of an actual change)/(its certificate) over the test points; nan where not asked."""


def hold(
    problem: HardProblem,
    *,
    removals: Sequence[Removal] | None = None,
    tolerance: float = 1e-9,
    changes: bool = False,
    l2_scaling: L2Scaling = "mean",
) -> Iterator[Held]:
    """Retrain without some rows, through fit, solver and cache, and hold what is stored against 60 digits.

    Args:
        problem: the examples and the model.
        removals: what is left out; every point when None.
        tolerance: of the retrained models.
        changes: whether to hold the actual changes of test points of length 1 and 1,000 against the true
            ones,
            which needs the minimisers.
        l2_scaling: which L2 a removal keeps.
    """
    risk = problem.risk()
    wanted = leave_one_out(range(risk.num_examples)) if removals is None else removals
    theta = NewtonFit()(risk).theta
    x_test, y_test = _test_points(problem)
    with tempfile.TemporaryDirectory() as folder:
        cache = WeightCache(Path(folder), "key", _fail)
        settings = RetrainSettings(tolerance=tolerance, l2_scaling=l2_scaling)
        solve_missing(risk, theta, wanted, cache, settings, lambda _: None)
        parts = list(cache.parts(wanted))
    exact = ExactRisk(
        exactly(risk.x.tolist()), risk.y.tolist(), problem.num_classes, exactly([[problem.l2]])[0][0]
    )
    at_fit = exactly(risk.weights(theta).tolist())
    for part in parts:
        truth = ground_truth(risk, theta, [part], x_test, y_test) if changes else None
        whole = exact.minimiser(at_fit) if changes else at_fit
        # `ground_truth` sorts by removal.
        order = sorted(range(len(part.removals)), key=part.removals.__getitem__)
        for place, row in enumerate(order):
            without = exact.without(part.removals[row])
            if l2_scaling == "sum":
                without = replace(without, l2=exact.l2 * len(exact.x) / len(without.x))
            stored = plus(at_fit, exactly(part.differences[row].tolist()))
            excess = float("nan")
            if truth is not None:
                actual, bounds = truth.actual_change[:, place], truth.bound[:, place]
                offs = _errors(whole, without.minimiser(stored), problem.bias, x_test, y_test, actual)
                excess = max((offs / bounds).tolist())
            yield Held(
                problem=problem.name,
                removal=part.removals[row],
                recorded=float(part.gradient_norms[row]),
                claimed=float(part.distance_bounds[row] * without.l2),
                true=float(without.gradient_norm(stored)),
                tolerance=tolerance,
                excess=excess,
            )


def _test_points(problem: HardProblem) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = np.random.default_rng(len(problem.y)).normal(size=problem.x.shape[1])
    direction = np.asarray(drawn / np.linalg.norm(drawn))
    x = np.stack([direction, 1e3 * direction, -1e3 * direction])
    return torch.from_numpy(x), torch.tensor([0, problem.num_classes - 1, 0])


def _errors(
    whole: Rows, without: Rows, bias: bool, x: torch.Tensor, y: torch.Tensor, actual: np.ndarray
) -> np.ndarray:
    examples = exactly(with_bias(x, bias).tolist())
    return np.array(
        [
            float(abs(loss(without, row, label) - loss(whole, row, label) - change))
            for row, label, change in zip(examples, y.tolist(), actual.tolist(), strict=True)
        ]
    )


def _fail(line: str) -> None:
    raise AssertionError(line)
