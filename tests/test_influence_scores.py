"""Scores: signs, factors and conventions of the influence on a test loss, up to true leave-one-out refits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from erm.softmax import SoftmaxRisk
from influence.cg import CG
from influence.exact import Exact
from influence.scores import influence_scores, most_influential
from influence.solution import Solution, Status
from tests.dense_curvature import random_vector
from tests.problems import digits_risk


def solved(s: Tensor, repeats: Tensor | None = None) -> Solution:
    return Solution(value=s, status=Status.FINISHED, message="given", repeats=repeats)


def test_two_opposite_examples_by_hand() -> None:
    # x = 1 with label 0 and with label 1: θ̂ = 0, both probabilities 1/2, H = ¼[[1, −1], [−1, 1]] + l2·I.
    # v = ∇ℓ of a test point like the first is (−½, ½), an eigenvector of eigenvalue ½ + l2; ∇L = ±v.
    l2 = 0.1
    x, y = torch.ones(2, 1, dtype=torch.float64), torch.tensor([0, 1])
    risk, theta = SoftmaxRisk(x=x, y=y, num_classes=2, l2=l2), torch.zeros(2, dtype=torch.float64)
    v = risk.loss_gradient(theta, x[:1], y[:1])[0]
    scores = influence_scores(risk, theta, Exact().at(risk.curvature(theta))(v))
    expected = torch.tensor([0.5, -0.5], dtype=torch.float64) / (0.5 + l2)
    # More weight on the test point's twin lowers its loss; removing the twin, one of two, raises it.
    torch.testing.assert_close(scores.influence, -expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(scores.predicted_change, expected / 2, rtol=0, atol=1e-14)
    assert not scores.predicted_stderr.any()


def test_scores_equal_a_loop_over_autograd_gradients_with_l2_inside() -> None:
    risk = digits_risk(30, l2=0.3)
    theta, s = random_vector(640), random_vector(640, seed=2)
    expected = []
    for x, y in zip(risk.x, risk.y, strict=True):
        leaf = theta.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf.view(10, 64) @ x, y) + 0.15 * leaf.dot(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
        expected.append(-s.dot(gradient))
    scores = influence_scores(risk, theta, solved(s))
    torch.testing.assert_close(scores.influence, torch.stack(expected), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(scores.predicted_change, -torch.stack(expected) / 30, rtol=1e-12, atol=1e-13)


def test_standard_error_is_that_of_a_mean_of_repeats() -> None:
    risk, theta = digits_risk(30), random_vector(640)
    repeats = torch.stack([random_vector(640, seed) for seed in range(5)])
    scores = influence_scores(risk, theta, solved(repeats.mean(0), repeats))
    each = np.stack([influence_scores(risk, theta, solved(s)).predicted_change.numpy() for s in repeats])
    np.testing.assert_allclose(scores.predicted_change, each.mean(0), rtol=1e-12, atol=1e-13)
    # Of 5 repeats ±2 standard errors would cover 88 %; 1.4 times as wide they cover what 2 of a normal do.
    factor = scipy.stats.t.ppf(scipy.stats.norm.cdf(2), 4) / 2
    np.testing.assert_allclose(
        scores.predicted_stderr, factor * each.std(0, ddof=1) / math.sqrt(5), rtol=1e-12
    )


def test_a_single_repeat_has_no_standard_error() -> None:
    risk, s = digits_risk(30), random_vector(640)
    scores = influence_scores(risk, random_vector(640, seed=2), solved(s, s[None]))
    assert scores.predicted_stderr.isnan().all()
    assert scores.predicted_change.isfinite().all()


def test_failed_solution_is_not_scored_and_its_message_is_passed_on() -> None:
    risk = digits_risk(30, l2=0.0)
    theta = random_vector(640)
    solution = CG().at(risk.curvature(theta))(random_vector(640, seed=2))
    with pytest.raises(ValueError, match=r"not positive definite.*model.l2=0.01"):
        influence_scores(risk, theta, solution)


def test_most_influential_ranks_by_absolute_value_with_ties_in_order() -> None:
    influence = torch.tensor([1.0, -3.0, 0.0, 3.0, -1.0, 5.0, 3.0])
    assert most_influential(influence, 5).tolist() == [5, 1, 3, 6, 0]
    assert most_influential(influence, 7).tolist() == [5, 1, 3, 6, 0, 4, 2]
    many_ties = torch.ones(1000).index_fill(0, torch.arange(0, 1000, 3), -1.0)
    assert most_influential(many_ties, 500).tolist() == list(range(500))


@pytest.mark.parametrize("top_k", [0, 4])
def test_most_influential_refuses_an_impossible_count(top_k: int) -> None:
    with pytest.raises(ValueError, match=rf"top_k must lie in 1 … 3 .*got {top_k}"):
        most_influential(torch.ones(3), top_k)


def test_most_influential_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        most_influential(torch.tensor([1.0, math.nan]), 1)


def newton_fit(risk: SoftmaxRisk, theta: Tensor) -> Tensor:
    """The minimiser, by Newton steps with the explicit Hessian from a point near it or at 0."""
    for _ in range(30):
        gradient = risk.gradient(theta)
        if gradient.norm() < 1e-13:
            return theta
        theta = theta - torch.linalg.solve(risk.curvature(theta).matrix(), gradient)
    raise AssertionError(f"gradient norm {float(gradient.norm()):.1e} after 30 Newton steps")


def test_predicted_change_is_that_of_leave_one_out_refits() -> None:
    pixels, digits = torch.tensor([10, 20, 28, 36, 44, 53]), digits_risk(1200)
    kept = digits.y < 3
    risk = replace(digits, x=digits.x[kept][:, pixels], y=digits.y[kept], num_classes=3, l2=0.05)
    theta = newton_fit(risk, risk.initial_parameters())
    x_test, y_test = risk.x.mean(0, keepdim=True), torch.tensor([1])
    v = risk.loss_gradient(theta, x_test, y_test)[0]
    scores = influence_scores(risk, theta, Exact().at(risk.curvature(theta))(v))
    removed = most_influential(scores.influence, 30)
    actual = []
    for index in removed.tolist():
        keep = torch.arange(risk.num_examples) != index
        without = newton_fit(replace(risk, x=risk.x[keep], y=risk.y[keep]), theta)
        actual.append(risk.losses(without, x_test, y_test) - risk.losses(theta, x_test, y_test))
    predicted, change = scores.predicted_change[removed], torch.cat(actual)
    slope, intercept = np.polyfit(predicted.numpy(), change.numpy(), 1)
    # Influence is the first order in 1/n: what is left is 1/n and the removed point's own curvature over n·λ.
    assert slope == pytest.approx(1, abs=0.02)
    assert abs(intercept) < 0.02 * float(change.abs().max())
    assert (predicted > 0).any()
    assert (predicted < 0).any()
