"""The fit ends where scikit-learn's does, at a gradient norm that scikit-learn does not reach."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from erm.adam import AdamFit
from erm.autograd import AutogradRisk
from erm.fit import NewtonFit
from erm.kronecker import identity
from erm.sgd import StochasticFit
from erm.softmax import SoftmaxRisk
from tests.hard_problems import draw
from tests.problems import digits_risk


def sklearn_minimiser(risk: SoftmaxRisk, tol: float = 1e-12) -> torch.Tensor:
    """Minimiser of mean CE + (l2/2)‖W‖²; scikit-learn minimises C·ΣCE + ½‖W‖², so C = 1/(l2·n)."""
    model = LogisticRegression(
        C=1 / (risk.l2 * risk.num_examples), fit_intercept=False, solver="newton-cg", tol=tol, max_iter=1000
    )
    model.fit(risk.x.numpy(), risk.y.numpy())
    return torch.from_numpy(model.coef_.copy())


@pytest.mark.parametrize("bias", [False, True])
def test_fit_matches_scikit_learn(bias: bool) -> None:
    risk = digits_risk(300, bias=bias)
    fit = NewtonFit()(risk)
    assert fit.converged
    # scikit-learn stops at a gradient norm near 1e-9 here, which l2 = 0.01 turns into a distance of 1e-7.
    assert float((risk.weights(fit.theta) - sklearn_minimiser(risk)).norm()) < 1e-6


def test_reported_norm_and_value_are_those_of_theta() -> None:
    risk = digits_risk(300)
    fit = NewtonFit()(risk)
    assert fit.gradient_norm == float(risk.gradient(fit.theta).norm()) <= 1e-10
    assert fit.value == float(risk.value(fit.theta))


def test_every_pass_is_told_and_the_trace_ends_where_the_fit_does() -> None:
    risk, told = digits_risk(300), list[tuple[int, float]]()
    fit = NewtonFit()(risk, progress=lambda passes, norm: told.append((passes, norm)))
    passes, norms = zip(*fit.trace, strict=True)
    assert list(passes) == sorted(set(passes))
    assert fit.trace[-1] == (fit.passes, fit.gradient_norm)
    assert norms[0] == pytest.approx(float(risk.gradient(risk.initial_parameters()).norm()), rel=1e-12)
    assert [number for number, _ in told] == list(range(1, fit.passes + 1))
    assert {norm for _, norm in told} <= set(norms)
    assert told[-1] == fit.trace[-1]


@pytest.mark.parametrize("steps", [1, 7, 120])
def test_the_trace_of_a_stochastic_fit_ends_at_the_norm_of_the_whole_risk(steps: int) -> None:
    risk = digits_risk(300)
    fit = StochasticFit(steps=steps, batch_size=50)(risk)
    passes = [number for number, _ in fit.trace]
    assert passes == sorted(set(passes))
    assert fit.trace[-1] == (fit.passes, float(risk.gradient(fit.theta).norm()))


@pytest.mark.parametrize("make", [StochasticFit, AdamFit])
def test_a_batch_of_more_than_all_examples_is_one_pass(make: type[StochasticFit | AdamFit]) -> None:
    assert make(steps=4, batch_size=90)(digits_risk(30)).passes == 4


def test_fit_from_elsewhere_ends_at_the_same_minimiser() -> None:
    risk = digits_risk(200)
    start = torch.from_numpy(np.random.default_rng(0).normal(size=risk.num_parameters))
    here, there = NewtonFit()(risk), NewtonFit()(risk, start=start)
    # Two gradients of 1e-10 allow minimisers 2e-10/l2 = 2e-8 apart.
    assert float((here.theta - there.theta).norm()) <= 2e-8


def test_a_fit_that_cannot_converge_says_so() -> None:
    # Separable data without L2: the infimum 0 is not attained, the gradient only fades.
    risk = digits_risk(100, l2=0.0)
    fit = NewtonFit(max_passes=50, tolerance=1e-30)(risk)
    assert not fit.converged
    assert fit.passes <= 50


@pytest.mark.parametrize("seed", [*range(0, 40, 3), 79, 123])
def test_problems_that_are_hard_on_newton_steps_converge(seed: int) -> None:
    """79: values of R near 1 from logits near 1,000; 123: systems that float32 cannot solve."""
    fit = NewtonFit()(draw(seed).risk())
    assert fit.converged
    assert fit.passes < 2000


def test_a_network_that_is_not_convex_is_brought_to_a_point_where_its_gradient_vanishes() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 4), torch.nn.Tanh(), torch.nn.Linear(4, 10))
    softmax = digits_risk(100)
    risk = AutogradRisk(module=module, x=softmax.x, y=softmax.y, l2=0.01)
    start = risk.initial_parameters()
    fit = NewtonFit()(risk)
    assert fit.converged
    assert fit.value < 0.9 * float(risk.value(start))
    lowest = float(torch.linalg.eigvalsh(risk.curvature(fit.theta).matrix())[0])
    assert lowest > -1e-6, "a saddle"


def test_the_preconditioner_saves_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    risk = digits_risk(1500)
    with_it = NewtonFit()(risk)
    monkeypatch.setattr("erm.fit.kronecker_inverse", lambda curvature, before: identity)
    without = NewtonFit()(risk)
    assert with_it.converged
    assert without.converged
    assert with_it.passes < 0.75 * without.passes


@pytest.mark.parametrize("settings", [{"tolerance": 0.0}, {"tolerance": float("nan")}, {"max_passes": 0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"fit.{next(iter(settings))}"):
        NewtonFit(**settings)
