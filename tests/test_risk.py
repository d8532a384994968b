"""Every implementation of the empirical risk answers what its formula says: values, gradients, classes."""

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from erm.autograd import AutogradRisk, HvpMode
from erm.dataset import Dataset
from erm.models import logistic, logistic_autograd
from erm.networks import SoftmaxRegression
from erm.risk import EmpiricalRisk
from tests.random_risks import (
    CASES,
    HVP_CASES,
    NUM_FEATURES,
    SOFTMAX_CASES,
    Case,
    assert_close,
    closed_form,
    mlp,
    mlp_problem,
    normal,
    softmax_problem,
    through_autograd,
)

STEP = 6e-6
"""Of central differences: ε^⅓. Truncation STEP²|R‴|/6 is 6e-12 |R‴|, and rounding ε|R|/STEP 4e-11 |R|."""
DIFFERENCES = 1e-8
"""Tolerance for them, relative to the largest entry: |R| and |R‴| are under 100 times that here."""

every_risk = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_the_formula_of_the_tests_is_the_cross_entropy_and_l2_of_its_definition() -> None:
    """At K = 2 with d = 1, by hand: θ = (a, b), logits (ax, bx)."""
    problem = softmax_problem(num_classes=2, l2=0.3)
    theta = torch.zeros(6, dtype=torch.float64)
    theta[0], theta[3] = 2.0, -1.0
    x, y = problem.x[:, 0], problem.y
    margin = torch.where(y == 0, 3 * x, -3 * x)
    assert_close(problem.losses(theta), torch.log1p(torch.exp(-margin)) + 0.15 * (4 + 1))


@every_risk
def test_value_is_the_mean_of_the_training_losses(case: Case) -> None:
    theta = case.problem.parameters()
    assert_close(case.risk.per_example_losses(theta), case.problem.losses(theta))
    assert_close(case.risk.value(theta), case.problem.losses(theta).mean())
    assert_close(case.risk.value_and_gradient(theta)[0], case.risk.per_example_losses(theta).mean())


@every_risk
def test_gradient_is_that_of_the_formula(case: Case) -> None:
    theta = case.problem.parameters()
    expected = torch.func.grad(case.problem.value)(theta)
    assert_close(case.risk.gradient(theta), expected)
    assert_close(case.risk.value_and_gradient(theta)[1], expected)


@every_risk
def test_gradient_is_the_central_difference_of_the_value(case: Case) -> None:
    theta, directions = case.problem.parameters(), case.problem.vectors(3)
    steps = STEP * directions
    differences = [case.risk.value(theta + step) - case.risk.value(theta - step) for step in steps]
    slopes = directions @ case.risk.gradient(theta)
    assert_close(slopes, torch.stack(differences) / (2 * STEP), DIFFERENCES)


@pytest.mark.parametrize("case", HVP_CASES, ids=lambda case: case.name)
def test_hvp_is_the_central_difference_of_the_gradient(case: Case) -> None:
    theta, v = case.problem.parameters(), case.problem.vectors(1)[0]
    difference = case.risk.gradient(theta + STEP * v) - case.risk.gradient(theta - STEP * v)
    assert_close(case.risk.curvature(theta).product(v[None])[0], difference / (2 * STEP), DIFFERENCES)


@every_risk
def test_per_example_gradient_dot_is_a_loop_over_examples_and_averages_to_the_gradient(case: Case) -> None:
    theta, v = case.problem.parameters(), case.problem.vectors(1)[0]
    dots = case.risk.per_example_gradient_dot(theta, v)
    leaf = theta.clone().requires_grad_()
    loop = [torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in case.problem.losses(leaf)]
    assert_close(dots, torch.stack(loop) @ v)
    assert_close(dots.mean(), case.risk.gradient(theta).dot(v))


@every_risk
def test_losses_of_other_examples_have_no_l2(case: Case) -> None:
    """θ is so large that (l2/2)‖θ‖² would outweigh the cross-entropy."""
    theta = case.problem.parameters(scale=20.0)
    x, y = case.problem.other_examples(7)
    assert_close(case.risk.losses(theta, x, y), case.problem.cross_entropies(theta, x, y))


@every_risk
def test_loss_gradients_of_other_examples_have_no_l2(case: Case) -> None:
    theta = case.problem.parameters(scale=20.0)
    x, y = case.problem.other_examples(7)
    leaf = theta.clone().requires_grad_()
    losses = case.problem.cross_entropies(leaf, x, y)
    loop = [torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in losses]
    assert_close(case.risk.loss_gradient(theta, x, y), torch.stack(loop))


@every_risk
def test_prediction_is_the_most_probable_class(case: Case) -> None:
    theta = case.problem.parameters()
    x, _ = case.problem.other_examples(30)
    probabilities = torch.softmax(case.problem.logits(theta, x), dim=1)
    predicted = case.risk.predict(theta, x)
    assert predicted.tolist() == [int(np.argmax(row)) for row in probabilities.numpy()]
    assert len(set(predicted.tolist())) > 1


@every_risk
def test_examples_of_another_precision_are_answered_in_that_of_the_training_set(case: Case) -> None:
    theta = case.problem.parameters()
    x, y = case.problem.other_examples(3)
    single = x.float()
    assert_close(case.risk.losses(theta, single, y), case.risk.losses(theta, single.double(), y))
    assert case.risk.loss_gradient(theta, single, y).dtype == torch.float64
    assert case.risk.predict(theta, single).shape == (3,)


@pytest.mark.parametrize("case", SOFTMAX_CASES, ids=lambda case: case.name)
def test_softmax_regression_starts_from_zero_where_every_class_is_as_likely(case: Case) -> None:
    theta = case.risk.initial_parameters()
    assert theta.tolist() == [0.0] * case.problem.num_parameters
    assert case.risk.num_parameters == case.problem.num_parameters
    assert_close(case.risk.value(theta), torch.tensor(case.problem.num_classes).double().log())


def _answers(risk: EmpiricalRisk, theta: Tensor, v: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    return [
        *risk.value_and_gradient(theta),
        risk.per_example_losses(theta),
        risk.per_example_gradient_dot(theta, v),
        risk.losses(theta, x, y),
        risk.loss_gradient(theta, x, y),
        risk.curvature(theta).product(v[None]),
    ]


@pytest.mark.parametrize("hvp_mode", ["forward_over_reverse", "double_backward"])
@pytest.mark.parametrize("bias", [False, True])
def test_autograd_and_the_closed_form_are_interchangeable(hvp_mode: HvpMode, bias: bool) -> None:
    problem = softmax_problem(num_classes=5, bias=bias)
    arguments = (problem.parameters(), problem.vectors(1)[0], *problem.other_examples(7))
    module = SoftmaxRegression(NUM_FEATURES, 5, bias=bias)
    autograd = _answers(through_autograd(problem, module, hvp_mode), *arguments)
    for actual, expected in zip(autograd, _answers(closed_form(problem), *arguments), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_the_size_of_the_chunks_changes_nothing(batch_size: int) -> None:
    """11 examples: one at a time, with a ragged last chunk, in one exact chunk, and in one with room left."""
    problem = mlp_problem()
    arguments = (problem.parameters(), problem.vectors(1)[0], *problem.other_examples(7))
    whole = _answers(through_autograd(problem, mlp(), "forward_over_reverse", 1000), *arguments)
    chunked = _answers(through_autograd(problem, mlp(), "forward_over_reverse", batch_size), *arguments)
    for actual, expected in zip(chunked, whole, strict=True):
        assert_close(actual, expected)


def test_parameters_are_flattened_in_the_order_of_the_module() -> None:
    module = mlp().double()
    risk = through_autograd(mlp_problem(), module, "forward_over_reverse")
    theta = risk.initial_parameters()
    assert theta.equal(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))
    assert risk.flatten(risk.unflatten(theta)).equal(theta)
    assert [part.shape for part in risk.unflatten(theta).values()] == [p.shape for p in module.parameters()]


def test_dropout_is_off_and_the_given_module_is_left_as_it_is() -> None:
    problem, dropout = mlp_problem(), nn.Sequential(*mlp(), nn.Dropout(0.9))
    with pytest.warns(UserWarning, match=r"Dropout\(p=0.9\) is off here"):
        risk = through_autograd(problem, dropout, "forward_over_reverse")
    assert_close(risk.per_example_losses(problem.parameters()), problem.losses(problem.parameters()))
    assert dropout.training
    assert all(parameter.dtype == torch.float32 for parameter in dropout.parameters())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("hvp_mode", "reverse"), ("batch_size", 0), ("l2", -0.1), ("l2", float("nan"))],
)
def test_settings_out_of_range_are_refused_by_name(
    setting: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As users run it: the check of annotations, which only tests have, would come first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    problem = mlp_problem()
    settings = {"module": mlp(), "x": problem.x, "y": problem.y, "l2": 0.1, setting: value}
    with pytest.raises(ValueError, match=f"{setting} must be .*{value}"):
        AutogradRisk(**settings)  # type: ignore[arg-type]  # one of them is wrong on purpose


def _dataset() -> Dataset:
    problem = softmax_problem(num_classes=3)
    x_test, y_test = problem.other_examples(5)
    return Dataset(
        name="random",
        x_train=problem.x.float().numpy(),
        y_train=problem.y.to(torch.int32).numpy(),
        x_test=x_test.float().numpy(),
        y_test=y_test.numpy(),
        num_classes=3,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [False, True])
def test_both_models_of_the_configuration_are_the_same_risk(dtype: torch.dtype, bias: bool) -> None:
    dataset, device = _dataset(), torch.device("cpu")
    closed = logistic(dataset, l2=0.3, bias=bias, dtype=dtype, device=device)
    autograd = logistic_autograd(
        dataset, l2=0.3, bias=bias, hvp="double_backward", dtype=dtype, device=device
    )
    assert autograd.hvp_mode == "double_backward"
    assert closed.num_parameters == autograd.num_parameters == 3 * (NUM_FEATURES + bias)
    theta, v = normal(2, closed.num_parameters, seed=6).to(dtype)
    # Both round differently; a few hundred roundings at the most, of 1e-7 in float32.
    tolerance = 1000 * torch.finfo(dtype).eps
    x, y = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
    expected = _answers(closed, theta, v, x, y)
    for actual, answer in zip(_answers(autograd, theta, v, x, y), expected, strict=True):
        assert answer.dtype == dtype
        assert_close(actual, answer, tolerance)


def test_a_risk_holds_its_own_copy_of_the_examples() -> None:
    dataset = _dataset()
    before = dataset.checksum
    risk = logistic(dataset, l2=0.3, bias=False, dtype=torch.float32, device=torch.device("cpu"))
    risk.x.zero_()
    risk.y.zero_()
    assert dataset.checksum == before
