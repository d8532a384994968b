"""Small risks that are not convex, brought to a minimum, for tests of local certificates."""

from functools import cache
from typing import Any

import torch
from scipy import optimize
from torch import nn

from erm.autograd import AutogradRisk
from erm.risk import EmpiricalRisk
from tests.problems import digits_risk


@cache
def network_at_minimum(
    num_train: int = 150, hidden: int = 3, l2: float = 0.02, seed: int = 0
) -> tuple[AutogradRisk, torch.Tensor]:
    """One hidden layer of tanh units on the first digits, and a strict minimum of its risk."""
    data = digits_risk(num_train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10))
    risk = AutogradRisk(module=module, x=data.x, y=data.y, l2=l2)
    return risk, minimised(risk)


def random_network(seed: int, *, l2: float = 0.05) -> tuple[AutogradRisk, torch.Tensor]:
    """Two tanh units on 12 random examples of 3 features and 2 classes, and a minimum."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, 3, dtype=torch.float64, generator=generator) * 2
    y = torch.randint(2, (12,), generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))
    risk = AutogradRisk(module=module, x=x, y=y, l2=l2)
    return risk, minimised(risk)


def minimised(risk: AutogradRisk) -> torch.Tensor:
    """A minimum by scipy's L-BFGS, then Newton steps with the whole Hessian until only rounding is left."""
    theta = newton(risk, scipy_minimum(risk, risk.initial_parameters()))
    assert float(risk.gradient(theta).norm()) < 1e-12
    return theta


def scipy_minimum(risk: EmpiricalRisk, start: torch.Tensor) -> torch.Tensor:
    """As far as L-BFGS comes, which sees values alone in the end."""

    def value_and_gradient(theta: Any) -> Any:
        value, gradient = risk.value_and_gradient(torch.from_numpy(theta))
        return float(value), gradient.numpy()

    search: Any = optimize.minimize
    options = {"maxiter": 5000, "maxfun": 10_000, "ftol": 0.0, "gtol": 1e-12, "maxcor": 30}
    found = search(value_and_gradient, start.numpy(), jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x)


def scipy_zero(risk: EmpiricalRisk, start: torch.Tensor) -> torch.Tensor:
    """A zero of the gradient by MINPACK's hybrid method."""

    def gradient(theta: Any) -> Any:
        return risk.gradient(torch.from_numpy(theta)).numpy()

    def hessian(theta: Any) -> Any:
        return risk.curvature(torch.from_numpy(theta)).matrix().numpy()

    search: Any = optimize.root
    return torch.from_numpy(search(gradient, start.numpy(), jac=hessian, tol=1e-12).x)


def newton(risk: AutogradRisk, theta: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """Plain Newton steps."""
    for _ in range(steps):
        theta = theta - torch.linalg.solve(risk.curvature(theta).matrix(), risk.gradient(theta))
    return theta
