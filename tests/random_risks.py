"""Small random problems, each with its formula written out by hand and with every risk that implements it.

The formula owes nothing to `erm`: it states the order of the parameters, the place of the bias and of L2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor, nn

from erm.autograd import AutogradRisk, HvpMode
from erm.networks import SoftmaxRegression
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk, with_bias

EXACT = 1e-10
"""Relative: two exact methods in float64 differ by at most a few hundred roundings of 2e-16 here."""
NUM_EXAMPLES, NUM_FEATURES, HIDDEN = 11, 3, 4
BATCH_SIZE = 4
"""Cuts the 11 examples into chunks of 4, 4 and 3."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Training examples (without a bias column) and the logits as a formula in θ."""

    x: Tensor
    y: Tensor
    num_classes: int
    l2: float
    num_parameters: int
    logits: Callable[[Tensor, Tensor], Tensor]
    bias: bool = False

    def cross_entropies(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """−log softmax of the right class: ℓ of each example, no L2."""
        logits = self.logits(theta, x)
        return logits.logsumexp(1) - logits.gather(1, y[:, None])[:, 0]

    def losses(self, theta: Tensor) -> Tensor:
        """L of each training example, L2 inside."""
        return self.cross_entropies(theta, self.x, self.y) + self.l2 / 2 * (theta**2).sum()

    def value(self, theta: Tensor) -> Tensor:
        return self.losses(theta).mean()

    def parameters(self, scale: float = 1.0) -> Tensor:
        return scale * normal(self.num_parameters, seed=2)

    def vectors(self, count: int) -> Tensor:
        return normal(count, self.num_parameters, seed=3)

    def other_examples(self, count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(4)
        y = torch.randint(self.num_classes, (count,), generator=generator)
        return normal(count, NUM_FEATURES, seed=5), y


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem and one implementation of its risk."""

    name: str
    problem: Problem
    risk: EmpiricalRisk


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax_problem(*, num_classes: int = 3, l2: float = 0.3, bias: bool = False) -> Problem:
    """Class k of example x has the logit Σⱼ θ[k·d + j] xⱼ, with x_{d−1} = 1 when there is a bias."""
    num_columns = NUM_FEATURES + bias

    def logits(theta: Tensor, x: Tensor) -> Tensor:
        rows = [theta[k * num_columns : (k + 1) * num_columns] for k in range(num_classes)]
        return torch.stack([x @ row[:NUM_FEATURES] + (row[-1] if bias else 0) for row in rows], dim=1)

    return Problem(
        x=normal(NUM_EXAMPLES, NUM_FEATURES, seed=1),
        # Every class occurs, and the last one in the ragged chunk.
        y=torch.arange(NUM_EXAMPLES) % num_classes,
        num_classes=num_classes,
        l2=l2,
        num_parameters=num_classes * num_columns,
        logits=logits,
        bias=bias,
    )


def mlp_problem() -> Problem:
    """Three classes by one hidden layer of tanh: R is not convex, and not linear in θ."""
    sizes = [HIDDEN * NUM_FEATURES, HIDDEN, 3 * HIDDEN, 3]

    def logits(theta: Tensor, x: Tensor) -> Tensor:
        w1, b1, w2, b2 = theta.split(sizes)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        hidden = torch.tanh(x @ w1.reshape(HIDDEN, NUM_FEATURES).T + b1)
        return torch.as_tensor(hidden @ w2.reshape(3, HIDDEN).T + b2)

    return replace(softmax_problem(num_classes=3), num_parameters=sum(sizes), logits=logits)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(NUM_FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 3))


def closed_form(problem: Problem) -> SoftmaxRisk:
    return SoftmaxRisk(
        x=with_bias(problem.x, problem.bias),
        y=problem.y,
        num_classes=problem.num_classes,
        l2=problem.l2,
        bias=problem.bias,
    )


def through_autograd(
    problem: Problem, module: nn.Module, hvp_mode: HvpMode, batch_size: int = BATCH_SIZE
) -> AutogradRisk:
    return AutogradRisk(
        module=module, x=problem.x, y=problem.y, l2=problem.l2, hvp_mode=hvp_mode, batch_size=batch_size
    )


# Every pair of a number of classes, an l2 and a bias occurs; all twelve triples would double the time.
_COMBINATIONS = (
    *((2, 0.3, False), (2, 0.0, True)),
    *((3, 0.0, False), (3, 0.3, True)),
    *((5, 0.3, False), (5, 0.0, True)),
)


def _softmax_cases() -> list[Case]:
    cases = []
    for num_classes, l2, bias in _COMBINATIONS:
        problem = softmax_problem(num_classes=num_classes, l2=l2, bias=bias)
        suffix = f"{num_classes}classes-l2={l2:g}-{'bias' if bias else 'nobias'}"
        cases.append(Case(name=f"closed_form-{suffix}", problem=problem, risk=closed_form(problem)))
        module = SoftmaxRegression(NUM_FEATURES, num_classes, bias=bias)
        for mode in get_args(HvpMode):
            risk = through_autograd(problem, module, mode)
            cases.append(Case(name=f"{mode}-{suffix}", problem=problem, risk=risk))
    return cases


def _mlp_cases() -> list[Case]:
    return [
        Case(name=f"{mode}-mlp", problem=problem, risk=through_autograd(problem, mlp(), mode))
        for problem in [mlp_problem()]
        for mode in get_args(HvpMode)
    ]


HVP_CASES = _softmax_cases() + _mlp_cases()
"""Every implementation, with both forms of the Hessian-vector product where it has two."""
CASES = [case for case in HVP_CASES if not case.name.startswith("double_backward")]
"""Every implementation once: all but curvature is the same code for both forms."""
SOFTMAX_CASES = [case for case in CASES if not case.name.endswith("mlp")]


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = EXACT) -> None:
    """Shapes are equal, and no entry is off by more than `tolerance` times the largest expected one."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    error, size = float((actual - expected).abs().max()), float(expected.abs().max())
    assert error <= tolerance * size, f"largest difference {error:.2e} beside entries up to {size:.2e}"
