"""Large removals: the batch against an independent solver, and what a pass and a factor are worth."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from erm.softmax import SoftmaxRisk
from parallel.group import ALONE
from repro.functions import leave_out
from retrain import group_solver
from retrain.batches import CacheState, own_batches
from retrain.certificate import distance_bound, gradient_rounding_bound
from retrain.preconditioner import build_preconditioner, kept_hessian
from retrain.prepare import removal_problem
from retrain.removal import NOTHING, Removal
from retrain.solver import solve_batch
from tests.problems import batch_of, digits_test_points, fitted_digits

NUM_TRAIN = 1000


def random_groups(count: int, seed: int) -> list[Removal]:
    """Random rows, 1 to 50 % of them."""
    generator = np.random.default_rng(seed)
    sizes = np.linspace(0.01, 0.5, count) * NUM_TRAIN
    return [
        tuple(sorted(generator.choice(NUM_TRAIN, size=round(size), replace=False).tolist())) for size in sizes
    ]


def independent_changes(removed: Removal, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What scikit-learn's Newton solver finds at tolerance 1e-12, and a bound on how wrong it can be.

    Its own gradient norm, by autograd over the rows that are left, bounds the distance to the minimiser.
    """
    risk, fit = fitted_digits(NUM_TRAIN)
    x, y = digits_test_points(count)
    kept = np.setdiff1d(np.arange(NUM_TRAIN), removed)
    solver = LogisticRegression(
        C=1 / (len(kept) * risk.l2), fit_intercept=False, tol=1e-12, solver="newton-cg", max_iter=1000
    )
    with warnings.catch_warnings():
        # Its line search says that nothing can be gained any more.
        warnings.simplefilter("ignore")
        solver.fit(risk.x[kept].numpy(), risk.y[kept].numpy())
    theta = torch.from_numpy(solver.coef_).requires_grad_()
    losses = torch.nn.functional.cross_entropy(risk.x[kept] @ theta.T, risk.y[kept])
    (gradient,) = torch.autograd.grad(losses + 0.5 * risk.l2 * theta.square().sum(), theta)
    weights = theta.detach().flatten()
    change = risk.losses(weights, x, y) - risk.losses(fit.theta, x, y)
    return change, math.sqrt(2) * x.norm(dim=1) * gradient.norm() / risk.l2


@pytest.mark.parametrize(("count", "seed"), [(6, 0), pytest.param(200, 1, marks=pytest.mark.slow)])
def test_random_groups_agree_with_scikit_learn_within_the_certificate(count: int, seed: int) -> None:
    risk, fit = fitted_digits(NUM_TRAIN)
    groups = random_groups(count, seed)
    found = leave_out(risk, fit.theta, groups, *digits_test_points(5))
    assert float(found.certificate.max()) < 1e-5
    for column, removed in enumerate(groups):
        independent, their_bound = independent_changes(removed, 5)
        assert float(their_bound.max()) < 1e-5
        apart = (found.actual_change[:, column] - independent).abs()
        assert (apart <= found.certificate[:, column] + their_bound).all()


def test_the_sum_of_l2_is_that_of_scikit_learn_at_one_c() -> None:
    risk, fit = fitted_digits(NUM_TRAIN)
    problem = removal_problem(risk, fit.theta, scales_l2=True)
    groups = random_groups(5, 3)
    factor = build_preconditioner(problem, torch.float64)
    solution = solve_batch(problem, factor, batch_of(*groups), tolerance=1e-9, single_precision=True)
    lengths = solution.differences.flatten(1).norm(dim=1)
    sizes = batch_of(*groups).sizes
    rounding = gradient_rounding_bound(problem, sizes, lengths)
    bounds = distance_bound(problem, sizes, solution.gradient_norms, lengths)
    plain = (solution.gradient_norms + rounding) / risk.l2
    assert (bounds < plain).all()
    for place, removed in enumerate(groups):
        kept = np.setdiff1d(np.arange(NUM_TRAIN), removed)
        # The same C for all: scikit-learn's is one over the sum of L2, which does not depend on the rows.
        solver = LogisticRegression(
            C=1 / (NUM_TRAIN * risk.l2), fit_intercept=False, tol=1e-12, solver="newton-cg", max_iter=1000
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solver.fit(risk.x[kept].numpy(), risk.y[kept].numpy())
        found = risk.weights(fit.theta)[:, problem.active] + solution.differences[place]
        theirs = torch.from_numpy(solver.coef_)[:, problem.active]
        assert float((found - theirs).norm()) < float(bounds[place]) + 1e-6


def test_models_that_all_move_the_same_way_are_worth_a_factor_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    risk, fit = fitted_digits(NUM_TRAIN, l2=1e-3)
    problem = removal_problem(risk, fit.theta)
    factor = build_preconditioner(problem, torch.float64)
    hardest = risk.losses(fit.theta, risk.x, risk.y).argsort(descending=True)
    generator = np.random.default_rng(0)
    tail = hardest[: 3 * NUM_TRAIN // 8].numpy()
    groups = [
        tuple(sorted(generator.choice(tail, NUM_TRAIN // 4, replace=False).tolist())) for _ in range(30)
    ]
    passes = []
    for most in (0, group_solver.MAX_FACTORS):
        monkeypatch.setattr(group_solver, "MAX_FACTORS", most)
        solution = solve_batch(problem, factor, batch_of(*groups), tolerance=1e-9, single_precision=True)
        assert bool(solution.converged.all())
        passes.append(int(solution.passes.sum()))
    assert passes[1] < 0.9 * passes[0], passes


def test_models_of_a_looser_tolerance_are_gone_on_with() -> None:
    risk, fit = fitted_digits(NUM_TRAIN)
    problem = removal_problem(risk, fit.theta)
    factor = build_preconditioner(problem, torch.float64)
    batch = batch_of(*random_groups(8, 5))
    loose = solve_batch(problem, factor, batch, tolerance=1e-5, single_precision=True)
    tight = solve_batch(
        problem, factor, batch, tolerance=1e-10, single_precision=True, start=loose.differences
    )
    anew = solve_batch(problem, factor, batch, tolerance=1e-10, single_precision=True)
    assert bool(tight.converged.all())
    assert (tight.passes < anew.passes).all()
    # λ-strong convexity: both are within 1e-10/λ of one minimiser.
    apart = (tight.differences - anew.differences).flatten(1).norm(dim=1)
    assert float(apart.max()) <= 2e-10 / risk.l2


def test_batches_hold_groups_of_like_size_and_single_rows_by_themselves() -> None:
    groups = [tuple(range(first, first + size)) for first in range(4) for size in (2, 30, 500)]
    wanted = sorted([NOTHING, (3,), (8,), *groups])
    batches = own_batches(wanted, CacheState(settled=set(), loose=set()), 4, ALONE)
    sizes = [sorted({len(rows) for rows in batch.removals}) for batch in batches]
    assert sizes == [[0, 1], [2], [30], [500]]
    assert sorted(rows for batch in batches for rows in batch.removals) == wanted


def sparse_risk(num_examples: int) -> SoftmaxRisk:
    """Most numbers are zero, as of images: features of every frequency, one of none, an example of zeros."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(num_examples, 40)) * (
        generator.random((num_examples, 40)) < np.linspace(0.01, 0.6, 40)
    )
    x[:, 7], x[3] = 0, 0
    y = torch.from_numpy(generator.integers(3, size=num_examples))
    return SoftmaxRisk(x=torch.from_numpy(x), y=y, num_classes=3, l2=0.01)


@pytest.mark.parametrize("scales_l2", [False, True])
def test_gradients_of_sparse_examples_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, scales_l2: bool
) -> None:
    """Passes leave out the zeros of chunks of examples, and rows of groups are summed in either way."""
    for module in ("erm.pass_order", "retrain.data_pass", "retrain.left_out", "retrain.problem"):
        monkeypatch.setattr(f"{module}.CHUNK_ROWS", 64)
    risk = sparse_risk(500)
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(risk.num_parameters, generator=generator, dtype=torch.float64)
    problem = removal_problem(risk, theta, active=torch.ones(40, dtype=torch.bool), scales_l2=scales_l2)
    # The chunks take different numbers of features, so that what they leave out is tried.
    widths = problem.double.order.widths
    assert len(set(widths)) > 1
    assert min(widths) < 40
    for groups in ([(3,), (1, 5), tuple(range(20))], [(4,), tuple(range(250)), tuple(range(100, 499))]):
        removals = batch_of(*groups)
        differences = 0.1 * torch.randn(3, 3, 40, generator=generator, dtype=torch.float64)
        found = problem.measure(problem.prepared(removals), differences).gradients
        near = problem.estimate(removals, differences)
        for place, removed in enumerate(groups):
            kept = np.setdiff1d(np.arange(500), removed)
            l2 = risk.l2 * 500 / len(kept) if scales_l2 else risk.l2
            without = SoftmaxRisk(x=risk.x[kept], y=risk.y[kept], num_classes=3, l2=l2)
            expected = without.gradient(theta + differences[place].flatten()).view(3, 40)
            torch.testing.assert_close(found[place], expected, rtol=0, atol=1e-14)
            torch.testing.assert_close(near[place], expected, rtol=0, atol=1e-5)


def test_a_batch_that_keeps_the_sum_of_l2_has_a_factor_of_its_own_l2() -> None:
    risk, fit = fitted_digits(NUM_TRAIN, l2=1e-3)
    problem = removal_problem(risk, fit.theta, scales_l2=True)
    generator = np.random.default_rng(0)
    half = batch_of(
        *(tuple(sorted(generator.choice(NUM_TRAIN, 500, replace=False).tolist())) for _ in range(6))
    )
    kept = kept_hessian(problem, torch.float64)
    own, shared = kept.factored(half), build_preconditioner(problem, torch.float64)
    assert (own.l2, shared.l2) == (2 * risk.l2, risk.l2)
    # C + 2λP, and C untouched by it.
    again = kept.factored(batch_of((1, 2)))
    torch.testing.assert_close(again.factor, shared.factor, rtol=0, atol=1e-4)
    passes = []
    for factor in (own, shared):
        solution = solve_batch(problem, factor, half, tolerance=1e-9, single_precision=True)
        assert bool(solution.converged.all())
        passes.append(int(solution.passes.sum()))
    assert passes[0] < 0.9 * passes[1], passes
