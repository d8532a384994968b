"""The fit to a local minimum ends where the gradient vanishes and H is positive definite, or says why not."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor, nn

import erm.descent
import erm.lowest
from erm.autograd import AutogradRisk
from erm.checkpoint import State
from erm.fit import Fit, NewtonFit
from erm.local_fit import LocalFit
from erm.lowest import lowest, lowest_by_products, lowest_of_matrix
from erm.networks import Activation, one_hidden_layer
from erm.trust_region import steihaug_step
from tests.problems import digits_risk
from tests.random_risks import normal


def small_risk(*, seed: int = 0, l2: float = 0.02, activation: Activation = "tanh") -> AutogradRisk:
    """Two units on four features and three classes, each 13 times: 4·2 + 2 + 2·3 + 3 = 19 parameters."""
    x, y = normal(39, 4, seed=1), torch.arange(39) % 3
    # So that there is something to learn.
    x[:, 0] += y
    x[:, 1] -= (y - 1.0) ** 2
    module = one_hidden_layer(4, 3, hidden=2, activation=activation, seed=seed)
    return AutogradRisk(module=module, x=x, y=y, l2=l2)


@pytest.fixture(params=["explicit", "products"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With H itself, and with products alone, as beyond `MAX_EXPLICIT` parameters."""
    if request.param == "products":
        monkeypatch.setattr(erm.lowest, "MAX_EXPLICIT", 0)
    return str(request.param)


def assert_minimum(risk: AutogradRisk, fit: Fit) -> None:
    assert fit.converged, fit.reason
    assert float(risk.gradient(fit.theta).norm()) == fit.gradient_norm <= 1e-10
    eigenvalues = torch.linalg.eigvalsh(risk.curvature(fit.theta).matrix())
    assert fit.smallest_eigenvalue is not None
    assert abs(fit.smallest_eigenvalue - float(eigenvalues[0])) <= 2e-6 * float(eigenvalues[-1])
    assert float(eigenvalues[0]) > 0


@pytest.mark.parametrize(("activation", "seed"), [("tanh", 0), ("softplus", 1), ("gelu", 2)])
def test_it_ends_at_a_minimum(way: str, activation: Activation, seed: int) -> None:
    risk = small_risk(activation=activation, seed=seed)
    fit = LocalFit()(risk)
    assert_minimum(risk, fit)
    assert fit.value == float(risk.value_and_gradient(fit.theta)[0])
    assert fit.value < float(risk.value(risk.initial_parameters())) - 0.1
    passes = [number for number, _ in fit.trace]
    assert passes == sorted(set(passes))
    assert fit.trace[-1] == (fit.passes, fit.gradient_norm)


def test_scipy_started_beside_its_end_comes_back_to_it() -> None:
    risk = small_risk()
    fit = LocalFit()(risk)
    options: Any = {"gtol": 1e-9}
    solve: Any = minimize
    found = solve(
        lambda theta: float(risk.value(torch.from_numpy(theta))),
        (fit.theta + 1e-3 * normal(len(fit.theta), seed=1)).numpy(),
        jac=lambda theta: risk.gradient(torch.from_numpy(theta)).numpy(),
        hess=lambda theta: risk.curvature(torch.from_numpy(theta)).matrix().numpy(),
        method="trust-exact",
        options=options,
    )
    assert fit.smallest_eigenvalue is not None
    # Both gradients are at most 1e-9; ‖H⁻¹‖ turns them into distances, and values differ by their square.
    assert np.linalg.norm(found.x - fit.theta.numpy()) <= 2e-9 / fit.smallest_eigenvalue
    assert abs(found.fun - fit.value) <= 1e-14


def test_softmax_regression_ends_at_its_one_minimum() -> None:
    softmax = digits_risk(100)
    module = nn.Sequential(nn.Linear(64, 10, bias=False))
    risk = AutogradRisk(module=module, x=softmax.x, y=softmax.y, l2=softmax.l2)
    fit = LocalFit()(risk)
    assert fit.converged
    # Two gradients of 1e-10 allow minimisers 2e-10/l2 apart.
    assert float((fit.theta - NewtonFit()(softmax).theta).norm()) <= 2e-10 / softmax.l2
    assert fit.smallest_eigenvalue == pytest.approx(softmax.l2, rel=1e-3)


def test_a_saddle_is_left_along_its_negative_curvature(way: str) -> None:
    # Every class is as often as another, so at θ = 0 the gradient vanishes, and H is indefinite there.
    risk = small_risk()
    saddle = torch.zeros(risk.num_parameters, dtype=torch.float64)
    assert float(risk.gradient(saddle).norm()) < 1e-15
    assert float(torch.linalg.eigvalsh(risk.curvature(saddle).matrix())[0]) < -1e-3
    # A fit that looks at the gradient alone stays there and says that it has converged.
    assert NewtonFit()(risk, start=saddle).theta.equal(saddle)
    fit = LocalFit()(risk, start=saddle)
    assert_minimum(risk, fit)
    assert fit.value < float(risk.value(saddle)) - 0.1


@dataclass
class Kept:
    """A checkpoint in memory that is interrupted at its n-th state, after it was saved."""

    interrupted_at: int | None = None
    states: list[State] = field(default_factory=list)

    def load(self) -> State | None:
        return self.states[-1] if self.states else None

    def save(self, state: State) -> None:
        self.states.append({name: part.clone() for name, part in state.items()})
        if len(self.states) == self.interrupted_at:
            raise KeyboardInterrupt


def interruptions(risk: AutogradRisk, start: Tensor) -> Iterator[int]:
    kept = Kept()
    LocalFit()(risk, start=start, checkpoint=kept)
    newton = [number for number, state in enumerate(kept.states, 1) if "radius" in state]
    assert 2 < newton[0] <= newton[-1] == len(kept.states)
    yield from sorted({newton[0] - 1, newton[-1]})


@pytest.mark.parametrize("saddle", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_interrupted_fit_ends_at_the_same_bits(
    way: str, saddle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erm.descent, "SEGMENT", 10)
    risk = small_risk()
    start = torch.zeros(risk.num_parameters, dtype=torch.float64) if saddle else risk.initial_parameters()
    whole = LocalFit()(risk, start=start)
    for number in interruptions(risk, start):
        kept = Kept(interrupted_at=number)
        with pytest.raises(KeyboardInterrupt):
            LocalFit()(risk, start=start, checkpoint=kept)
        resumed = LocalFit()(risk, start=start, checkpoint=Kept(states=kept.states))
        assert resumed.theta.equal(whole.theta), f"interrupted at state {number}"
        assert (resumed.passes, resumed.trace) == (whole.passes, whole.trace)


@pytest.mark.parametrize(
    "fault",
    [
        {"theta": torch.zeros(3)},
        {"theta": torch.full((19,), torch.nan, dtype=torch.float64)},
        {"passes": torch.zeros(2)},
        {"trace": torch.zeros(4)},
        {"anchor": torch.zeros(5), "radius": torch.tensor(1.0)},
    ],
)
def test_a_state_that_no_fit_has_left_is_not_used(fault: State) -> None:
    risk, kept = small_risk(), Kept()
    whole = LocalFit()(risk, checkpoint=kept)
    forged = LocalFit()(risk, checkpoint=Kept(states=[kept.states[0] | fault]))
    assert forged.theta.equal(whole.theta)
    assert forged.passes == whole.passes


def test_a_hessian_that_is_singular_leaves_it_undecided() -> None:
    # Without L2 nothing holds the weights of a feature that is always 0.
    risk = small_risk()
    x = torch.cat([risk.x, torch.zeros(39, 1, dtype=torch.float64)], dim=1)
    module = nn.Sequential(nn.Linear(5, 3))
    fit = LocalFit(tolerance=1e-3)(AutogradRisk(module=module, x=x, y=risk.y, l2=0.0))
    assert not fit.converged
    assert "whether this is a minimum cannot be told" in fit.reason
    assert "model.l2" in fit.reason


@dataclass(frozen=True, kw_only=True)
class Immovable(AutogradRisk):
    """Its values are beside a number at which they are rounding."""

    def value_and_gradient(self, theta: Float[Tensor, " p"]) -> tuple[Float[Tensor, ""], Float[Tensor, " p"]]:
        value, gradient = AutogradRisk.value_and_gradient(self, theta)
        return value + 1e20, gradient


def test_a_saddle_that_cannot_be_left_is_named() -> None:
    risk = small_risk()
    stuck = Immovable(module=risk.module, x=risk.x, y=risk.y, l2=risk.l2)
    fit = LocalFit()(stuck, start=torch.zeros(risk.num_parameters, dtype=torch.float64))
    assert not fit.converged
    assert "a saddle that cannot be left: the smallest eigenvalue of H is -" in fit.reason
    assert fit.smallest_eigenvalue is not None
    assert fit.smallest_eigenvalue < 0


@pytest.mark.parametrize("max_passes", [1, 20])
def test_passes_that_run_out_are_said(way: str, max_passes: int) -> None:
    fit = LocalFit(max_passes=max_passes)(small_risk(l2=1e-4))
    assert not fit.converged
    assert "Raise fit.max_passes" in fit.reason
    # A segment may end its line search, and the look at H counts.
    assert fit.passes <= max_passes + 25


def test_a_tolerance_below_rounding_is_said() -> None:
    fit = LocalFit(tolerance=1e-30)(small_risk())
    assert not fit.converged
    assert fit.reason == "rounding keeps ‖∇R‖ above it. Raise fit.tolerance"
    assert fit.gradient_norm < 1e-12


@pytest.mark.parametrize("values", [(-0.5, 0.1, 3.0), (1e-3, 0.1, 3.0), (0.0, 0.1, 3.0)])
def test_the_smallest_eigenvalue_is_found_with_its_vector(values: tuple[float, ...]) -> None:
    basis, _ = torch.linalg.qr(normal(40, 40, seed=1))
    eigenvalues = torch.linspace(values[1], values[2], 40, dtype=torch.float64)
    eigenvalues[0] = values[0]
    matrix = basis @ torch.diag(eigenvalues) @ basis.T
    found = lowest_of_matrix((matrix + matrix.T) / 2)
    assert abs(found.value - values[0]) < 1e-6 * max(abs(values[0]), 1e-8)
    assert float((found.vector.dot(basis[:, 0])).abs()) == pytest.approx(1, abs=1e-6)
    assert (found.is_negative, found.is_positive) == (values[0] < 0, values[0] > 0)
    assert (found.factor is not None) == (values[0] > 0)


def test_by_products_it_is_the_same() -> None:
    risk = small_risk()
    for scale in (0.0, 0.3):
        curvature = risk.curvature(scale * normal(risk.num_parameters, seed=2))
        explicit, by_products = lowest(curvature), lowest_by_products(curvature)
        assert abs(explicit.value - by_products.value) <= by_products.resolution
        assert by_products.is_negative


def test_a_trust_region_step_is_newtons_inside_and_downhill_on_the_edge() -> None:
    basis, _ = torch.linalg.qr(normal(30, 30, seed=1))
    values, g = torch.linspace(0.1, 2.0, 30, dtype=torch.float64), normal(30, seed=2)
    hessian = basis @ torch.diag(values) @ basis.T
    inside = steihaug_step(lambda v: hessian @ v, g, radius=1e3, forcing=1e-12, most=60)
    newton = -torch.linalg.solve(hessian, g)
    assert not inside.at_radius
    assert float((inside.direction - newton).norm()) < 1e-9 * float(newton.norm())
    assert inside.decrease == pytest.approx(-float(g.dot(newton)) / 2, rel=1e-9)
    values[0] = -0.1
    indefinite = basis @ torch.diag(values) @ basis.T
    edge = steihaug_step(lambda v: indefinite @ v, g, radius=5.0, forcing=1e-12, most=60)
    d = edge.direction
    assert edge.at_radius
    assert float(d.norm()) == pytest.approx(5.0, rel=1e-9)
    assert edge.decrease == pytest.approx(-float(g.dot(d) + d.dot(indefinite @ d) / 2), rel=1e-9)
    # At least what the steepest descent within the radius brings.
    slope, bend = float(g.norm()), float(g.dot(indefinite @ g) / g.dot(g))
    length = min(5.0, slope / bend) if bend > 0 else 5.0
    assert edge.decrease >= slope * length - bend * length**2 / 2


@pytest.mark.parametrize("settings", [{"tolerance": 0.0}, {"tolerance": float("nan")}, {"max_passes": 0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"fit.{next(iter(settings))}"):
        LocalFit(**settings)
