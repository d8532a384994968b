"""Leave-one-out models: at scikit-learn's minimiser, inside their certificates, and as influence predicts."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from erm.softmax import SoftmaxRisk
from retrain import preconditioner, solver
from retrain.certificate import distance_bound
from retrain.ground_truth import ground_truth
from retrain.preconditioner import build_preconditioner
from retrain.prepare import removal_problem
from retrain.problem import RemovalProblem
from retrain.removal import NOTHING, leave_one_out
from retrain.retrainer import LeaveOneOutError
from retrain.settings import RetrainSettings
from retrain.solution import BatchSolution
from retrain.solver import solve_batch
from retrain.weight_file import RetrainedWeights
from retrain.weights import WeightCache
from tests.problems import batch_of, digits_risk, digits_test_points, fitted_digits, read_all, solve_missing


def solve(
    problem: RemovalProblem, indices: list[int], tolerance: float = 1e-9, single: bool = False
) -> BatchSolution:
    dtype = torch.float32 if single else torch.float64
    return solve_batch(
        problem,
        build_preconditioner(problem, dtype),
        batch_of(*leave_one_out(indices)),
        tolerance=tolerance,
        single_precision=single,
    )


def weights_of(
    risk: SoftmaxRisk, theta: torch.Tensor, tmp_path: Path, indices: Iterable[int], **settings: Any
) -> RetrainedWeights:
    """Solve through the cache, as the stage does."""
    cache = WeightCache(tmp_path / "weights", "key", pytest.fail)
    solve_missing(risk, theta, leave_one_out(indices), cache, RetrainSettings(**settings), lambda _: None)
    weights = read_all(cache)
    assert weights is not None
    return weights


def sklearn_without(risk: SoftmaxRisk, index: int) -> torch.Tensor:
    kept = np.arange(risk.num_examples) != index
    model = LogisticRegression(
        C=1 / (risk.l2 * kept.sum()), fit_intercept=False, solver="newton-cg", tol=1e-13, max_iter=1000
    )
    model.fit(risk.x.numpy()[kept], risk.y.numpy()[kept])
    return torch.from_numpy(model.coef_.copy())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("precision", ["mixed", "float64"])
def test_models_are_those_of_scikit_learn(tmp_path: Path, bias: bool, precision: str) -> None:
    risk, fit = fitted_digits(300, bias=bias)
    weights = weights_of(risk, fit.theta, tmp_path, [0, 7, 299], precision=precision)
    assert weights.removals == (NOTHING, (0,), (7,), (299,))
    for row in (1, 2, 3):
        ours = risk.weights(fit.theta) + torch.from_numpy(weights.differences[row]).double()
        theirs = sklearn_without(risk, weights.removals[row][0])
        # scikit-learn's own gradient norm, near 1e-10 per example, is worth about 1e-7 at l2 = 0.01.
        assert float((ours - theirs).norm()) < 3e-7


@pytest.mark.parametrize("precision", ["mixed", "float64"])
def test_gradient_norms_reach_the_tolerance_and_are_those_of_the_stored_problem(
    tmp_path: Path, precision: str
) -> None:
    risk, fit = fitted_digits(500)
    weights = weights_of(risk, fit.theta, tmp_path, range(0, 500, 7), precision=precision)
    assert float(weights.gradient_norms.max()) <= 1e-9
    problem = removal_problem(risk, fit.theta)
    differences = torch.from_numpy(weights.differences)[:, :, problem.active]
    norms = problem.measure(batch_of(*weights.removals), differences).norms.numpy()
    # The same formula at the same point: only the order of the sums, in batches of another size, is
    # different.
    np.testing.assert_allclose(norms, weights.gradient_norms, rtol=0, atol=1e-14)


def test_distance_to_the_minimiser_is_within_its_bound() -> None:
    risk, fit = fitted_digits(300)
    problem = removal_problem(risk, fit.theta)
    indices = list(range(40))
    loose, tight = solve(problem, indices, tolerance=3e-5), solve(problem, indices, tolerance=1e-12)
    lengths = loose.differences.flatten(1).norm(dim=1)
    bounds = distance_bound(problem, torch.ones(40).double(), loose.gradient_norms, lengths)
    distances = (loose.differences - tight.differences).flatten(1).norm(dim=1)
    assert float(tight.gradient_norms.max()) <= 1e-12
    assert bool((distances <= bounds).all())
    # Not vacuous: the bound overstates by at most the condition number, λ_max/λ.
    assert float((bounds / distances).min()) < 300


def test_certificates_cover_the_error_of_every_actual_change(tmp_path: Path) -> None:
    risk, fit = fitted_digits(300)
    x, y = digits_test_points(6)
    loose = weights_of(risk, fit.theta, tmp_path / "loose", range(40), tolerance=1e-5)
    tight = weights_of(risk, fit.theta, tmp_path / "tight", range(40), tolerance=1e-12)
    rough, exact = (ground_truth(risk, fit.theta, [weights], x, y) for weights in (loose, tight))
    errors = np.abs(rough.actual_change - exact.actual_change)
    # The reference's own certificate is part of what is allowed.
    assert np.all(errors <= rough.bound + exact.bound)
    assert rough.bound.max() < 0.02


def test_null_control_starts_elsewhere_and_returns(tmp_path: Path) -> None:
    risk, fit = fitted_digits(300)
    weights = weights_of(risk, fit.theta, tmp_path, [3])
    truth = ground_truth(risk, fit.theta, [weights], *digits_test_points(4))
    assert weights.removals[0] == NOTHING
    assert weights.passes[0] >= 2
    assert np.all(np.abs(truth.actual_change[:, 0]) <= truth.bound[:, 0])
    assert truth.bound[:, 0].max() < 1e-5


@pytest.mark.parametrize(("num_train", "l2"), [(30, 1e-3), (200, 1e-5)])
def test_models_far_from_theta_hat_are_solved_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_train: int, l2: float
) -> None:
    monkeypatch.setattr(solver, "MAX_PASSES", 6)
    risk, fit = fitted_digits(num_train, l2=l2)
    problem = removal_problem(risk, fit.theta)
    assert not bool(solve(problem, list(range(num_train))).converged.all())
    weights = weights_of(risk, fit.theta, tmp_path, range(num_train))
    assert float(weights.gradient_norms.max()) <= 1e-9


def test_a_step_too_far_is_taken_back_not_followed() -> None:
    # Hardly any L2: a Newton step of the removal overshoots to gradients that are not finite.
    risk, fit = fitted_digits(200, l2=1e-6)
    batch = solve(removal_problem(risk, fit.theta), list(range(200)))
    assert bool(batch.gradient_norms.isfinite().all())
    assert float(batch.converged.double().mean()) > 0.98


def test_float32_that_cannot_factor_the_hessian_gives_way_to_float64() -> None:
    # Every feature twice: half of the spectrum is l2 alone, which float32 rounding swamps.
    risk = digits_risk(200, l2=1e-10)
    doubled = replace(risk, x=torch.cat([risk.x, risk.x], dim=1))
    problem = removal_problem(doubled, doubled.initial_parameters())
    assert build_preconditioner(problem, torch.float32).factor.dtype == torch.float64


def test_preconditioner_is_the_inverse_hessian_on_vectors_that_sum_to_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preconditioner, "KEPT_CURVATURE", 1.0)
    risk, fit = fitted_digits(200)
    problem = removal_problem(risk, fit.theta)
    v = torch.randn(
        3, 10, problem.num_features, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    v -= v.mean(1, keepdim=True)
    full = torch.zeros(3, 10, risk.num_features, dtype=torch.float64)
    full[:, :, problem.active] = build_preconditioner(problem, torch.float64).apply(v)
    back = risk.curvature(fit.theta).product(full.flatten(1)).view(3, 10, -1)[:, :, problem.active]
    torch.testing.assert_close(back, v, rtol=0, atol=1e-12)


def test_without_l2_nothing_is_certified(tmp_path: Path) -> None:
    risk = digits_risk(100, l2=0.0)
    cache = WeightCache(tmp_path, "key", pytest.fail)
    with pytest.raises(LeaveOneOutError, match=r"model\.l2"):
        solve_missing(risk, risk.initial_parameters(), [(0,)], cache, RetrainSettings(), lambda _: None)


def test_a_hessian_that_rounding_makes_indefinite_is_shifted() -> None:
    # Every feature twice, and an L2 that float64 cannot see beside them.
    risk = digits_risk(100, l2=1e-30)
    doubled = replace(risk, x=torch.cat([risk.x, risk.x], dim=1))
    problem = removal_problem(doubled, doubled.initial_parameters())
    shifted = build_preconditioner(problem, torch.float32)
    gradients = problem.gradient_at_fit(batch_of((0,), (1,)))
    assert bool(shifted.apply(gradients).isfinite().all())


@pytest.mark.parametrize("settings", [{"tolerance": 0.0}, {"precision": "half"}, {"batch_size": 0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    # In tests the annotated types are checked before the class itself does.
    with pytest.raises((ValueError, TypeError), match=next(iter(settings))):
        RetrainSettings(**settings)
