"""Passes through the first layer are those of every example with every parameter."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.func import grad, jvp

from erm.autograd import AutogradRisk
from erm.pass_order import CHUNK_ROWS
from retrain.layer_passes import layer_passes

GENERATOR = torch.Generator()
MODULES: dict[str, Callable[[], nn.Module]] = {
    "bias": lambda: nn.Sequential(nn.Linear(20, 3), nn.Tanh(), nn.Linear(3, 4)),
    "no bias": lambda: nn.Sequential(nn.Linear(20, 3, bias=False), nn.GELU(), nn.Linear(3, 4)),
    "two hidden": lambda: nn.Sequential(
        nn.Linear(20, 3), nn.Softplus(), nn.Linear(3, 5, bias=False), nn.Tanh(), nn.Linear(5, 4)
    ),
    "linear": lambda: nn.Sequential(nn.Linear(20, 4)),
}


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR.manual_seed(seed))


def risk_of(module: nn.Module) -> AutogradRisk:
    """More examples than a chunk has, with features that are rarely there, and one that never is."""
    x = random(CHUNK_ROWS + 300, 20, seed=0)
    x[random(*x.shape, seed=1) < torch.linspace(-1, 2, 20, dtype=torch.float64)] = 0
    x[:, 7] = 0
    return AutogradRisk(module=module, x=x, y=torch.arange(len(x)) % 4, l2=0.01)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_sums_of_every_order_are_those_of_plain_derivatives(module: Callable[[], nn.Module]) -> None:
    risk = risk_of(module())
    passes = layer_passes(risk)
    assert passes is not None
    assert passes.order.widths[0] < 20, "nothing is skipped, so nothing is tested of it"
    thetas, v = random(3, risk.num_parameters, seed=2), random(3, risk.num_parameters, seed=3)
    gradient = grad(lambda t: nn.functional.cross_entropy(risk.logits(t, risk.x), risk.y, reduction="sum"))

    def second(theta: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
        return jvp(gradient, (theta,), (along,))[1]  # type: ignore[no-any-return]

    def third(theta: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
        return jvp(lambda t: second(t, along), (theta,), (along,))[1]  # type: ignore[no-any-return]

    for found, plain in (
        (passes.sums(1, thetas), [gradient(theta) for theta in thetas]),
        (passes.sums(2, thetas, v), [second(*pair) for pair in zip(thetas, v, strict=True)]),
        (passes.sums(3, thetas, v), [third(*pair) for pair in zip(thetas, v, strict=True)]),
    ):
        wanted = torch.stack(plain)
        # Sums of 1,324 examples in another order.
        assert float((found - wanted).norm()) <= 1e-13 * float(wanted.norm())


def test_what_does_not_begin_with_a_linear_layer_has_none() -> None:
    module = nn.Sequential(nn.Tanh(), nn.Linear(20, 4))
    assert layer_passes(risk_of(module)) is None
