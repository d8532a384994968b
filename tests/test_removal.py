"""The batched leave-one-out gradient is the gradient of R₋ᵢ as its definition has it."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from erm.pass_order import ALIGNMENT
from erm.softmax import SoftmaxRisk
from retrain.certificate import gradient_rounding_bound, loss_change
from retrain.preconditioner import build_preconditioner
from retrain.prepare import removal_problem
from retrain.probability_change import centred, probability_change
from retrain.removal import NOTHING, Removal, removal
from tests.problems import batch_of, digits_risk, digits_test_points, fitted_digits


def plain_gradient(risk: SoftmaxRisk, removed: Removal, weights: torch.Tensor) -> torch.Tensor:
    """∇ of mean over the others of (CE + (l2/2)‖θ‖²), by autograd, with nothing shared or rearranged."""
    kept = [row for row in range(risk.num_examples) if row not in removed]
    theta = weights.clone().requires_grad_()
    losses = torch.nn.functional.cross_entropy(risk.x[kept] @ theta.T, risk.y[kept])
    (gradient,) = torch.autograd.grad(losses + 0.5 * risk.l2 * theta.square().sum(), theta)
    return gradient


def random_differences(count: int, risk: SoftmaxRisk, size: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, risk.num_classes, risk.num_features)
    return centred(size * torch.randn(shape, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk_rows", [64, 1000])
def test_gradient_is_that_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, bias: bool, chunk_rows: int
) -> None:
    for module in ("erm.pass_order", "retrain.data_pass", "retrain.left_out", "retrain.problem"):
        monkeypatch.setattr(f"{module}.CHUNK_ROWS", chunk_rows)  # 64 leaves a ragged last chunk of 200
    risk, fit = fitted_digits(200, bias=bias)
    problem = removal_problem(risk, fit.theta)
    removals: list[Removal] = [(0,), (17,), (199,), NOTHING, (3, 70, 199), tuple(range(100, 200))]
    full = random_differences(6, risk, 0.1)
    full[:, :, ~problem.active] = 0
    gradients = problem.measure(batch_of(*removals), full[:, :, problem.active]).gradients
    for row, removed in enumerate(removals):
        expected = plain_gradient(risk, removed, risk.weights(fit.theta) + full[row])
        # Both are float64 sums of 200 terms of order one.
        torch.testing.assert_close(gradients[row], expected[:, problem.active], rtol=0, atol=1e-14)
        assert float(expected[:, ~problem.active].norm()) < 1e-15


def test_gradient_at_fit_is_the_gradient_at_difference_zero() -> None:
    risk, fit = fitted_digits(200)
    problem = removal_problem(risk, fit.theta)
    removals = batch_of((3,), NOTHING, (3, 4, 150))
    zero = torch.zeros(3, problem.num_classes, problem.num_features, dtype=torch.float64)
    torch.testing.assert_close(
        problem.gradient_at_fit(removals), problem.measure(removals, zero).gradients, rtol=0, atol=1e-16
    )


@pytest.mark.parametrize("size", [1e-2, 1e-6])
def test_float32_pass_errs_relative_to_the_change_not_to_the_gradient(size: float) -> None:
    risk, fit = fitted_digits(500)
    problem = removal_problem(risk, fit.theta)
    differences = random_differences(5, risk, size)[:, :, problem.active]
    differences = centred(differences)
    removals = batch_of((0,), (1,), (2, 3), (3,), (4, 7, 8))
    single = problem.estimate(removals, differences)
    double = problem.measure(removals, differences).gradients
    # Sums of 500 float32 products err by a few 1e-7 of the change; a plain float32 gradient by 1e-8 flat.
    assert float((single - double).norm()) < 1e-6 * float(differences.norm())


def test_probability_change_keeps_its_digits_when_the_change_is_tiny() -> None:
    p = torch.softmax(torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), 0)
    u = torch.tensor([1e-13, -3e-13, 2e-13], dtype=torch.float64)
    # First order: (diag(p) − ppᵀ)u; the second-order term is 1e-26.
    expected = p * u - p * p.dot(u)
    torch.testing.assert_close(probability_change(p.log(), u), expected, rtol=1e-12, atol=0)
    half = torch.tensor([1.0, -0.9, 0.5], dtype=torch.float64)
    exact = torch.softmax(p.log() + half, 0) - p
    torch.testing.assert_close(probability_change(p.log(), half), exact, rtol=1e-13, atol=1e-16)


def test_rounding_bound_covers_the_error_against_extended_precision() -> None:
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("this machine has no extended precision to compare with")
    risk, fit = fitted_digits(300)
    problem = removal_problem(risk, fit.theta)
    difference = random_differences(1, risk, 0.01)[:, :, problem.active]
    difference = centred(difference)
    computed = problem.measure(batch_of((5,)), difference).gradients[0].numpy()
    kept = np.arange(300) != 5
    x, labels = problem.x.numpy().astype(np.longdouble)[kept], problem.labels.numpy()[kept]
    weights = problem.weights.numpy().astype(np.longdouble) + difference[0].numpy()
    logits = x @ weights.T
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    exact = (probabilities - labels).T @ x / 299 + np.longdouble(risk.l2) * weights
    error = float(np.linalg.norm((computed - exact).ravel()))
    bound = float(
        gradient_rounding_bound(problem, torch.ones(1).double(), difference.flatten(1).norm(dim=1))[0]
    )
    assert 0 < error <= bound <= 1e-11, (error, bound)


def test_loss_change_is_the_difference_of_losses() -> None:
    risk, fit = fitted_digits(200)
    x, y = digits_test_points(5)
    differences = random_differences(3, risk, 0.05)
    labels = torch.nn.functional.one_hot(y, 10).double()
    log_probabilities = torch.log_softmax(x @ risk.weights(fit.theta).T, 1)
    changes = loss_change(x, log_probabilities, labels, differences)
    for row, difference in enumerate(differences):
        moved = risk.losses(fit.theta + difference.flatten(), x, y) - risk.losses(fit.theta, x, y)
        torch.testing.assert_close(changes[:, row], moved, rtol=0, atol=1e-14)
    # Also where exp(Δx) overflows: the loss itself is as large as its logits.
    far = loss_change(x, log_probabilities, labels, 1e5 * differences)
    for row, difference in enumerate(differences):
        moved = risk.losses(fit.theta + 1e5 * difference.flatten(), x, y) - risk.losses(fit.theta, x, y)
        torch.testing.assert_close(far[:, row], moved, rtol=1e-12, atol=0)
    assert far.abs().max() > 1000


def test_a_part_common_to_all_classes_of_theta_is_measured_and_removed() -> None:
    """No probability sees it, but L2 does: it stands in the gradient, and in the step that H⁻¹ makes of
    it."""
    risk, fit = fitted_digits(200)
    common = torch.linspace(0, 1, risk.num_features, dtype=torch.float64).repeat(10)
    problem = removal_problem(risk, fit.theta + common)
    gradient = problem.gradient_at_fit(batch_of(NOTHING))
    common = common.view(10, -1)[:, problem.active]
    torch.testing.assert_close(gradient[0], risk.l2 * common, rtol=0, atol=1e-10)
    step = build_preconditioner(problem, torch.float64).apply(gradient)
    torch.testing.assert_close(step[0], common, rtol=0, atol=1e-7)


def test_dropped_features_are_those_that_no_example_has_less_a_few() -> None:
    risk = digits_risk(200)
    unseen = 40
    wide = replace(risk, x=torch.cat([risk.x, risk.x.new_zeros(200, unseen)], dim=1))
    theta = wide.initial_parameters()
    problem, seen = removal_problem(wide, theta), (wide.x != 0).any(0)
    assert bool((problem.active | ~seen).all())
    assert problem.num_features == -(-int(seen.sum()) // ALIGNMENT) * ALIGNMENT
    assert problem.num_features < wide.num_features
    # A model that uses such a feature all the same must shrink it to zero, so it takes part.
    theta[-1] = 1.0
    assert bool(removal_problem(wide, theta).active[-1])


def test_a_removal_is_ascending_rows_each_once() -> None:
    assert removal([7, 2], 10) == (2, 7)
    assert removal([], 10) == NOTHING
    assert removal(range(9), 10) == tuple(range(9))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([3, 5, 3], "names training row 3 twice"),
        ([3, 10], "names training row 10: expected 0 … 9"),
        ([-1, 4], "names training row -1: expected 0 … 9"),
        (range(10), "of all 10 training rows"),
    ],
)
def test_rows_that_are_no_removal_are_named(rows: Iterable[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        removal(rows, 10)
