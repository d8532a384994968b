"""Newton steps without rows, and rescaled influence, against dense formulas and independent minimisers."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from erm.autograd import AutogradRisk
from erm.fit import NewtonFit
from erm.networks import SoftmaxRegression
from erm.softmax import SoftmaxRisk, with_bias
from influence.exact import Exact
from influence.group_steps import group_steps
from influence.newton_step import NewtonStep
from influence.point_steps import point_steps
from influence.rif import RescaledInfluence
from influence.scores import influence_scores
from influence.without_rows import LossesAtTest, NotDefiniteError, row_removals
from repro.functions import leave_out
from repro.step_functions import newton_step, rescaled_influence
from retrain.certify import certified_changes
from retrain.settings import L2Scaling
from tests.hard_problems import draw
from tests.problems import digits_test_points, fitted_digits
from tests.sixty_digits import ExactRisk, exactly, loss

Correction = Literal["none", "adjoint"]
CORRECTIONS: tuple[Correction, ...] = ("none", "adjoint")
GROUPS = ([3], [7, 20], list(range(0, 120, 8)), list(range(0, 120, 2)), list(range(30, 120)))
"""Of 120 rows: one, two, an eighth, a half, three quarters."""


def without(risk: SoftmaxRisk, rows: list[int], scales_l2: bool) -> SoftmaxRisk:
    """R₋S as a risk of its own."""
    n = risk.num_examples
    kept = torch.tensor([row for row in range(n) if row not in set(rows)])
    return replace(risk, x=risk.x[kept], y=risk.y[kept], l2=risk.l2 * (n / len(kept) if scales_l2 else 1.0))


def dense_step(
    risk: SoftmaxRisk, theta: Float[Tensor, " p"], rows: list[int], scales_l2: bool
) -> Float[Tensor, " p"]:
    """−(∇²R₋S(θ̂))⁻¹∇R₋S(θ̂), all of it explicit."""
    reduced = without(risk, rows, scales_l2)
    step: Tensor = -torch.linalg.solve(reduced.curvature(theta).matrix(), reduced.gradient(theta))
    return step


def places(bias: bool, where: str) -> tuple[SoftmaxRisk, Tensor]:
    """A risk with pixels that are always 0, at its minimiser or away from it."""
    risk, fit = fitted_digits(120, bias=bias)
    away = torch.randn(len(fit.theta), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return risk, fit.theta + (0.05 * away if where == "away" else 0.0)


CASES = [
    (bias, where, scales) for bias in (False, True) for where in ("at θ̂", "away") for scales in (False, True)
]


@pytest.mark.parametrize(("bias", "where", "scales_l2"), CASES)
def test_steps_of_points_and_groups_solve_the_dense_system(bias: bool, where: str, scales_l2: bool) -> None:
    risk, theta = places(bias, where)
    removals = row_removals(risk, theta, risk.curvature(theta))
    points = torch.tensor([0, 3, 64, 119])
    steps = point_steps(removals, removals.inverse(scales_l2=scales_l2), points)
    by_group = group_steps(
        removals, removals.inverse(scales_l2=False), GROUPS, scales_l2=scales_l2, tolerance=1e-13
    )
    pairs = [*zip([[row] for row in points.tolist()], steps.steps(), strict=True)]
    pairs += [*zip(GROUPS, by_group, strict=True)]
    for rows, found in pairs:
        expected = dense_step(risk, theta, rows, scales_l2)
        # Residuals of 1e-13 at condition numbers of some hundreds.
        assert float((found - expected).norm()) <= 1e-10 * float(expected.norm()), rows
    # The test losses there, by the logits of the step and by the parameters themselves.
    x_test, y_test = digits_test_points(3)
    test = LossesAtTest.of(removals, x_test, y_test)
    before = risk.losses(theta, x_test, y_test)
    plain = torch.stack([risk.losses(theta + step, x_test, y_test) - before for step in steps.steps()], dim=1)
    assert float((test.changes(steps.logits(test)) - plain).abs().max()) < 1e-13


@pytest.mark.parametrize("scales_l2", [False, True])
def test_orthogonal_examples_have_a_step_in_closed_form(scales_l2: bool) -> None:
    """xⱼ = eⱼ at θ = 0: H₋S is known, (diag p − p pᵀ = (I − 11ᵀ/K)/K), and so is the step: zero for the rows
    removed, and (yⱼ − 1/K)/(1/K + N_λ) for the others."""
    n, num_classes, l2 = 6, 3, 0.1
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    risk = SoftmaxRisk(x=torch.eye(n, dtype=torch.float64), y=y, num_classes=num_classes, l2=l2)
    theta = risk.initial_parameters()
    predictor = NewtonStep(tolerance=1e-14).at_fit(risk, theta, risk.curvature(theta))
    for rows in ([2], [0, 5]):
        sum_of_l2 = l2 * (n if scales_l2 else n - len(rows))
        expected = (risk.labels.T - 1 / num_classes) / (1 / num_classes + sum_of_l2)
        expected[:, rows] = 0
        found = predictor.steps([rows], scales_l2=scales_l2)[0].view(num_classes, n)
        assert float((found - expected).abs().max()) < 1e-14


@pytest.mark.parametrize("scales_l2", [False, True])
def test_rescaled_influence_is_the_test_gradient_times_the_members_steps(scales_l2: bool) -> None:
    risk, theta = places(True, "at θ̂")
    x_test, y_test = digits_test_points(2)
    gradients = risk.loss_gradient(theta, x_test, y_test)
    groups = [[4], [5, 9, 100], list(range(40))]
    found = (
        RescaledInfluence()
        .at_fit(risk, theta, risk.curvature(theta))
        .groups(groups, x_test, y_test, scales_l2=scales_l2)
    )
    for place, rows in enumerate(groups):
        steps = sum(dense_step(risk, theta, [row], scales_l2) for row in rows)
        assert isinstance(steps, Tensor)
        assert found[:, place].tolist() == pytest.approx((gradients @ steps).tolist(), rel=1e-9)
    points = RescaledInfluence().at_fit(risk, theta, risk.curvature(theta)).points(x_test, y_test)
    assert points[:, 4].tolist() == pytest.approx(
        (gradients @ dense_step(risk, theta, [4], False)).tolist(), rel=1e-9
    )


def test_the_errors_fall_in_the_order_of_what_each_method_leaves_out() -> None:
    """Against minimisers: a step has no error of first order in the Hessian, influence has."""
    risk, fit = fitted_digits(300, bias=True)
    x_test, y_test = digits_test_points(2)
    groups = [[row] for row in range(0, 300, 10)] + [list(range(s, s + 15)) for s in range(0, 300, 60)]
    actual = leave_out(risk, fit.theta, groups, x_test, y_test).actual_change
    stepped = newton_step(risk, fit.theta, groups, x_test, y_test)
    rescaled = rescaled_influence(risk, fit.theta, groups, x_test, y_test)
    solve = Exact().at(risk.curvature(fit.theta))
    plain = torch.stack(
        [
            influence_scores(risk, fit.theta, solve(v)).predicted_change
            for v in risk.loss_gradient(fit.theta, x_test, y_test)
        ]
    )
    first_order = torch.stack([plain[:, rows].sum(1) for rows in groups], dim=1)
    for part in (slice(0, 30), slice(30, None)):
        errors = [
            float((found - actual)[:, part].abs().max())
            for found in (first_order, rescaled, stepped.predicted_change)
        ]
        assert errors[2] < 0.2 * errors[0], errors
        assert errors[1] < 0.9 * errors[0], errors
    # What is certified of a step is true, though nothing was retrained for it.
    assert bool(((stepped.predicted_change - actual).abs() <= stepped.certificate).all())
    slope, intercept = np.polyfit(stepped.predicted_change.flatten(), actual.flatten(), 1)
    assert slope == pytest.approx(1, abs=0.02)
    assert intercept == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("scales_l2", [False, True])
def test_a_correction_is_what_the_step_leaves_of_the_gradient_by_the_hessian_at_the_fit(
    scales_l2: bool,
) -> None:
    risk, theta = places(True, "at θ̂")
    x_test, y_test = digits_test_points(2)
    # What is in memory is of points, so it has the L2 of 119 of the 120 rows.
    hessian = risk.curvature(theta).matrix() - risk.l2 / 120 * torch.eye(len(theta), dtype=torch.float64)
    scaling: L2Scaling = "sum" if scales_l2 else "mean"
    plain, corrected = (
        newton_step(risk, theta, GROUPS, x_test, y_test, l2_scaling=scaling, correction=correction)
        for correction in CORRECTIONS
    )
    assert torch.equal(plain.parameters, corrected.parameters)
    for place, rows in enumerate(GROUPS):
        at = plain.parameters[place]
        left = torch.linalg.solve(hessian, without(risk, rows, scales_l2).gradient(at))
        expected = -(risk.loss_gradient(at, x_test, y_test) @ left)
        added = (corrected.predicted_change - plain.predicted_change)[:, place]
        assert added.tolist() == pytest.approx(expected.tolist(), rel=1e-7, abs=1e-13), rows
        wider = (corrected.certificate - plain.certificate)[:, place]
        assert wider.tolist() == pytest.approx(added.abs().tolist(), rel=1e-6, abs=1e-13)


def test_a_correction_leaves_an_error_of_second_order() -> None:
    risk, fit = fitted_digits(600, bias=True)
    x_test, y_test = digits_test_points(3)
    generator = np.random.default_rng(0)
    sizes = {"points": 1, "5 %": 30, "25 %": 150}
    for name, size in sizes.items():
        groups = [sorted(generator.choice(600, size=size, replace=False).tolist()) for _ in range(12)]
        if name == "points":
            groups = [[row] for row in range(60)]
        actual = leave_out(risk, fit.theta, groups, x_test, y_test, tolerance=1e-11).actual_change
        errors = []
        for correction in CORRECTIONS:
            found = newton_step(risk, fit.theta, groups, x_test, y_test, correction=correction)
            error = (found.predicted_change - actual).abs()
            assert bool((error <= found.certificate).all())
            errors.append(float(error.max()))
        assert errors[1] < 0.4 * errors[0], (name, errors)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_certificates_of_steps_cover_the_true_changes_of_hard_problems(correction: Correction) -> None:
    """Few examples, heavy tails, little L2: a step may end anywhere, and its certificate says how far."""
    covered, far = 0, 0
    for seed in range(24):
        problem = draw(seed)
        risk = problem.risk()
        if risk.num_examples < 4 or problem.l2 < 1e-6:
            continue
        theta = NewtonFit()(risk).theta
        x_test = torch.from_numpy(np.ones((1, problem.x.shape[1])))
        y_test = torch.tensor([0])
        groups: list[list[int]] = [[0], [1, 2]]
        scaling: L2Scaling = "sum" if seed % 2 else "mean"
        try:
            found = newton_step(
                risk, theta, groups, x_test, y_test, l2_scaling=scaling, correction=correction
            )
        except NotDefiniteError:
            continue
        exact = ExactRisk(
            exactly(risk.x.tolist()), risk.y.tolist(), problem.num_classes, exactly([[risk.l2]])[0][0]
        )
        at_fit = exactly(risk.weights(theta).tolist())
        whole, example = exact.minimiser(at_fit), exactly(with_bias(x_test, problem.bias).tolist())[0]
        for place, rows in enumerate(groups):
            reduced = exact.without(rows)
            if scaling == "sum":
                reduced = replace(reduced, l2=exact.l2 * risk.num_examples / (risk.num_examples - len(rows)))
            true = loss(reduced.minimiser(at_fit), example, 0) - loss(whole, example, 0)
            error = abs(float(true) - float(found.predicted_change[0, place]))
            assert error <= float(found.certificate[0, place]), (problem.name, rows)
            covered, far = covered + 1, far + (error > 1e-3)
    assert covered >= 16
    # Some steps must have gone wrong by much, or nothing was tried.
    assert far >= 2


def test_a_certificate_of_the_sum_of_l2_is_of_that_models_minimiser() -> None:
    risk, fit = fitted_digits(120)
    x_test, y_test = digits_test_points(2)
    rows = tuple(range(60))
    own = without(risk, list(rows), True)
    true = NewtonFit(tolerance=1e-11)(own).theta
    change = risk.losses(true, x_test, y_test) - risk.losses(fit.theta, x_test, y_test)
    for scales_l2, holds in ((True, True), (False, False)):
        found, _ = certified_changes(risk, fit.theta, true[None], [rows], x_test, y_test, scales_l2=scales_l2)
        assert np.abs(found.actual_change[:, 0] - change.numpy()).max() < 1e-12
        # A certificate of 1e-8 is of the risk whose minimiser this is, and of no other.
        assert bool(found.bound.max() < 1e-8) is holds


def test_what_has_no_step_is_refused() -> None:
    risk, fit = fitted_digits(120)
    flat = replace(risk, l2=0.0)
    with pytest.raises(ValueError, match=r"Set model\.l2 > 0"):
        NewtonStep().at_fit(flat, fit.theta, flat.curvature(fit.theta))
    general = AutogradRisk(module=SoftmaxRegression(64, 10, bias=False), x=risk.x, y=risk.y, l2=0.01)
    with pytest.raises(ValueError, match="Use model=logistic"):
        RescaledInfluence().at_fit(general, fit.theta, general.curvature(fit.theta))
    tiny = replace(risk, x=risk.x * 1e8, l2=1e-12)
    with pytest.raises(NotDefiniteError, match=r"rounding|breaks down"):
        NewtonStep().at_fit(tiny, fit.theta * 1e-8, tiny.curvature(fit.theta * 1e-8))
    with pytest.raises(NotDefiniteError, match="no solution after 1 iterations"):
        NewtonStep(max_iterations=1).at_fit(risk, fit.theta, risk.curvature(fit.theta)).steps(
            [[1, 2, 3]], scales_l2=False
        )
    with pytest.raises(ValueError, match="named twice"):
        newton_step(risk, fit.theta, [[1], [1]], *digits_test_points(1))
    with pytest.raises(ValueError, match="names training row 120"):
        newton_step(risk, fit.theta, [[120]], *digits_test_points(1))
