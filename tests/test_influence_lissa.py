"""LiSSA: the recursion against its closed form, its mean against the exact solution, and its divergence."""

import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from erm.fit import NewtonFit
from erm.softmax import SoftmaxRisk
from influence.exact import Exact
from influence.lissa import LiSSA
from influence.scores import Scores, influence_scores, most_influential
from influence.solution import Solution, Status
from tests.dense_curvature import DenseCurvature, random_vector, spread, with_eigenvalues
from tests.problems import digits_risk, digits_test_points


def identical_examples(count: int = 5) -> DenseCurvature:
    """Every batch Hessian is H itself, so that nothing is random."""
    return DenseCurvature(with_eigenvalues(spread(0.2, 12)).examples.repeat(count, 1, 1))


def rank_one_examples(num_examples: int, p: int, eigenvalues: Tensor) -> DenseCurvature:
    """Examples that curve in one random direction each, with 0.05 everywhere else."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(num_examples, p, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    outer = eigenvalues[:, None, None] * directions[:, :, None] * directions[:, None, :]
    return DenseCurvature(outer + 0.05 * torch.eye(p, dtype=torch.float64))


@pytest.mark.parametrize("depth", [1, 7, 40])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_recursion_without_noise_is_the_truncated_neumann_series(depth: int, damping: float) -> None:
    curvature, v = identical_examples(), random_vector(12)
    damped = curvature.matrix() + damping * torch.eye(12, dtype=torch.float64)
    contraction = torch.eye(12, dtype=torch.float64) - damped / 4.0
    term, series = v, v
    for _ in range(depth):
        term = contraction @ term
        series = series + term
    solution = LiSSA(scale=4.0, depth=depth, batch_size=2, repeats=3, damping=damping).at(curvature)(v)
    assert solution.status is Status.FINISHED
    # Rounding of 40 steps. The last term of the series is far larger: an off-by-one would show.
    torch.testing.assert_close(solution.value, series / 4.0, rtol=0, atol=1e-13)
    assert float(term.norm()) > 1e-3


def test_long_recursion_solves_the_damped_system() -> None:
    curvature, x = identical_examples(), random_vector(12)
    v = curvature.matrix() @ x + 0.1 * x
    solution = LiSSA(scale=2.0, depth=300, damping=0.1).at(curvature)(v)
    # The slowest mode has decayed to (1 − 0.3/2)^300 = 7e-22, so only rounding is left.
    torch.testing.assert_close(solution.value, x, rtol=0, atol=1e-12)
    assert solution.relative_residual == pytest.approx(0, abs=1e-12)


@cache
def digits_problem() -> tuple[SoftmaxRisk, Tensor, Tensor]:
    """200 digits on a coarse grid of 16 pixels (p = 160), l2 = 0.01: the risk, θ̂, and v of a test point."""
    coarse = torch.arange(64).view(8, 8)[1::2, 1::2].flatten()
    whole = digits_risk(200)
    risk = replace(whole, x=whole.x[:, coarse])
    fit = NewtonFit(tolerance=1e-11)(risk)
    x_test, y_test = digits_test_points(1)
    return risk, fit.theta, risk.loss_gradient(fit.theta, x_test[:, coarse], y_test)[0]


@cache
def lissa_on_digits() -> tuple[Solution, Scores, Scores]:
    """LiSSA's solution and scores, and the exact scores; depth leaves out (1 − 0.01/3)^2000 = 1e-3."""
    risk, theta, v = digits_problem()
    curvature = risk.curvature(theta)
    lissa = LiSSA(scale=3.0, depth=2000, repeats=240).at(curvature)(v)
    exact = Exact().at(curvature)(v)
    return lissa, influence_scores(risk, theta, lissa), influence_scores(risk, theta, exact)


def test_errors_on_digits_are_as_large_as_their_standard_errors_say() -> None:
    risk, theta, _ = digits_problem()
    lissa, _, exact = lissa_on_digits()
    assert lissa.repeats is not None
    z = []
    for repeats in torch.split(lissa.repeats, 10):
        scores = influence_scores(risk, theta, replace(lissa, value=repeats.mean(0), repeats=repeats))
        z.append((scores.predicted_change - exact.predicted_change) / scores.predicted_stderr)
    # z² has a mean of 9/7: Student's distribution with 9 degrees of freedom. Over seeds, the mean over 24
    # groups and all examples varies by 0.17; a spread that is not divided by √10 would make it 0.13.
    assert 0.7 < float(torch.stack(z).square().mean()) < 2.0


def test_predictions_on_digits_have_slope_one_and_no_intercept() -> None:
    _, scores, exact = lissa_on_digits()
    # Over all examples both means are s·∇R(θ̂) = 0, and the intercept with them.
    top = most_influential(exact.influence, 50)
    truth, predicted = exact.predicted_change[top], scores.predicted_change[top]
    centred = truth - truth.mean()
    slope = float(centred.dot(predicted) / centred.dot(centred))
    intercept = float(predicted.mean()) - slope * float(truth.mean())
    # Over seeds the slope varies by 0.007 and the intercept by 0.0007 of the largest change; a forgotten
    # 1/scale or mean over the repeats makes the slope 3 or 240.
    assert slope == pytest.approx(1, abs=0.03)
    assert abs(intercept) < 0.003 * float(truth.abs().max())


def test_value_is_the_mean_of_repeats_that_differ() -> None:
    lissa, _, _ = lissa_on_digits()
    assert lissa.repeats is not None
    assert lissa.repeats.shape == (240, 160)
    assert torch.equal(lissa.value, lissa.repeats.mean(0))
    distances = torch.cdist(lissa.repeats, lissa.repeats)
    assert float((distances + torch.eye(240)).min()) > 1e-3


def test_cost_counts_examples_the_residual_and_the_estimate_of_the_batches() -> None:
    lissa, _, _ = lissa_on_digits()
    # Ten power iterations on 256 batches of one.
    assert lissa.num_hvps == (2000 * 240 * 1 + 10 * 256 * 1) / 200 + 1


def test_spread_shrinks_with_the_batch() -> None:
    curvature, v = rank_one_examples(50, 6, torch.ones(50, dtype=torch.float64)), random_vector(6)
    spreads = []
    for batch_size in (1, 16):
        repeats = LiSSA(scale=4.0, depth=300, repeats=30, batch_size=batch_size).at(curvature)(v).repeats
        assert repeats is not None
        spreads.append(float(repeats.var(dim=0).sum()))
    # The variance of a mean over 16; a variance over 30 repeats of 6 parameters is known to about 15 %.
    assert spreads[0] / spreads[1] == pytest.approx(16, rel=0.5)


def test_same_seed_is_bit_identical_and_another_differs() -> None:
    curvature, v = rank_one_examples(50, 6, torch.ones(50, dtype=torch.float64)), random_vector(6)
    first, again, other = (LiSSA(depth=60, seed=seed).at(curvature)(v).value for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_small_a_scale_stops_at_once_and_names_one_that_holds() -> None:
    risk, theta, v = digits_problem()
    curvature = risk.curvature(theta)
    failed = LiSSA(scale=0.1, depth=5000, allow_divergence=True).at(curvature)(v)
    assert failed.status is Status.DIVERGED
    assert failed.value.isnan().all()
    assert failed.repeats is None
    assert failed.trace[-1][0] <= 150
    assert_advice_holds(failed)


def test_a_scale_that_is_sure_to_diverge_is_refused_before_it_runs() -> None:
    risk, theta, v = digits_problem()
    refused = LiSSA(scale=0.1, depth=5000).at(risk.curvature(theta))(v)
    assert refused.status is Status.REFUSED
    assert refused.value.isnan().all()
    assert refused.trace == ()
    assert_advice_holds(refused)


@pytest.mark.parametrize("scale", [0.55, 0.9, 1.1, 2.0])
def test_it_is_refused_where_the_second_moment_says_so(scale: float) -> None:
    # Rank-one batches in one direction: E(1 − λ/scale)² ≤ 1 exactly if E λ²/E λ ≤ 2·scale, here 2 · 1.
    eigenvalues = torch.tensor([1.0, 1.0 + 2**0.5], dtype=torch.float64)
    moment = float(eigenvalues.square().sum() / eigenvalues.sum())
    curvature = DenseCurvature(eigenvalues[:, None, None])
    solution = LiSSA(scale=scale, depth=400).at(curvature)(torch.ones(1, dtype=torch.float64))
    assert moment == pytest.approx(2.0)
    assert (solution.status is Status.REFUSED) == (scale < 1)


@pytest.mark.parametrize("scale", [5.0, 8.0, 9.0, 15.0])
def test_l2_and_damping_are_treated_alike(scale: float) -> None:
    """The same A by L2 or by damping: refused together, and else the same numbers."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    # An example's Hessian has the eigenvalue ‖x‖²/2 + L2: 1.2 for most, 21 for a tenth.
    x *= 0.4**0.5 / x.norm(dim=1, keepdim=True)
    x[::10] *= 10
    by_l2 = SoftmaxRisk(x=x, y=torch.arange(50) % 2, num_classes=2, l2=1.0)
    by_damping = replace(by_l2, l2=1e-9)
    theta = by_l2.initial_parameters()
    v = by_l2.loss_gradient(theta, x[:1], by_l2.y[:1])[0]
    one = LiSSA(scale=scale, depth=200).at(by_l2.curvature(theta))(v)
    other = LiSSA(scale=scale, depth=200, damping=1.0).at(by_damping.curvature(theta))(v)
    assert one.status is other.status
    assert one.status is (Status.REFUSED if scale == 5 else Status.FINISHED)
    torch.testing.assert_close(one.value, other.value, rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("scale", [0.8, 0.95, 1.05, 1.3])
@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_damping_is_part_of_the_second_moment(scale: float, damping: float) -> None:
    """In one dimension E(1 − α/c)² ≤ 1 exactly if E α²/E α ≤ 2c, α = μ + damping: here at c = 1."""
    small = torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64)
    # The last eigenvalue makes the moment of all four 2.
    rest = float((2 * small - small**2).sum())
    alphas = torch.cat([small, torch.tensor([1 + (1 + rest) ** 0.5], dtype=torch.float64)])
    curvature = DenseCurvature((alphas - damping)[:, None, None].clone())
    solution = LiSSA(scale=scale, depth=50, damping=damping).at(curvature)(torch.ones(1, dtype=torch.float64))
    expands = float((1 - alphas / scale).square().mean()) > 1
    assert expands == (scale < 1)
    assert (solution.status is Status.REFUSED) == expands


def assert_advice_holds(failed: Solution) -> None:
    risk, theta, v = digits_problem()
    curvature = risk.curvature(theta)
    advised = re.search(r"influence.scale=([\d.e+]+)`", failed.message)
    assert advised is not None
    scale = float(advised.group(1))
    held = LiSSA(scale=scale, depth=int(300 * scale)).at(curvature)(v)
    assert held.status is Status.FINISHED
    exact = Exact().at(curvature)(v).value
    # Noise and a bias of (1 − 0.01/scale)^depth = e^-3 = 5 %.
    assert float((held.value - exact).norm() / exact.norm()) < 0.2


def test_overflow_between_two_checks_counts_as_divergence() -> None:
    curvature = with_eigenvalues(1e9 * spread(0.1, 4))
    solution = LiSSA(scale=1.0, allow_divergence=True).at(curvature)(random_vector(4))
    assert solution.status is Status.DIVERGED
    assert solution.value.isnan().all()
    assert solution.trace[-1][0] == 50


@pytest.mark.parametrize("seed", range(3))
def test_rare_batches_above_twice_the_scale_raise_no_false_alarm(seed: int) -> None:
    # As at the paper's settings: 1.6 % of the steps expand, by up to |1 − 4| = 3.
    eigenvalues = torch.full((500,), 0.6, dtype=torch.float64)
    eigenvalues[:8] = 4.0
    curvature, v = rank_one_examples(500, 30, eigenvalues), random_vector(30)
    solution = LiSSA(scale=1.0, depth=800, repeats=20, seed=seed).at(curvature)(v)
    assert solution.status is Status.FINISHED
    exact = Exact().at(curvature)(v).value
    assert float((solution.value - exact).norm() / exact.norm()) < 0.2
