"""Each check finds the fault it is there for, in problems made to have it, and passes those without."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnosis.convergence import Left, check_convergence, check_training_noise, what_is_left
from diagnosis.curvature import check_curvature
from diagnosis.recursion import Ends, batch_curvature, check_recursion, relative_error
from diagnosis.truth import Truth, judge_truth, tolerance_that_tells
from erm.fit import NewtonFit
from erm.sgd import StochasticFit
from influence import spectrum as spectrum_module
from influence.cg import CG
from influence.lissa import LiSSA
from influence.scores import influence_scores
from influence.solution import Solution, Status
from influence.spectrum import Spectrum, spectrum
from plots.spectrum import ComputedSpectrum, draw_spectrum
from repro.diagnosing.subject import Reference
from retrain.leverage import amplification
from retrain.removal import leave_one_out
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache
from tests.dense_curvature import DenseCurvature, random_vector
from tests.problems import digits_risk, digits_test_points, fitted_digits, solve_missing


def spectrum_of(eigenvalues: list[float], precision: str = "float64") -> Spectrum:
    values = np.sort(np.array(eigenvalues))
    return Spectrum(eigenvalues=values, num_parameters=len(values), precision=precision, complete=True)


def test_spectrum_is_that_of_the_explicit_hessian() -> None:
    risk, fit = fitted_digits(200)
    found = spectrum(risk.curvature(fit.theta))
    expected = torch.linalg.eigvalsh(risk.curvature(fit.theta).matrix()).numpy()
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-14)
    # L2 alone acts on what no example sees and on what is common to all classes.
    assert found.smallest == pytest.approx(0.01, abs=1e-14)
    assert found.counts()["zero up to rounding"] == 0


def test_lanczos_finds_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    risk, fit = fitted_digits(200)
    whole = spectrum(risk.curvature(fit.theta))
    monkeypatch.setattr(spectrum_module, "MAX_EXPLICIT", 10)
    ends = spectrum(risk.curvature(fit.theta))
    assert not ends.complete
    assert ends.largest == pytest.approx(whole.largest, rel=1e-6)
    assert ends.smallest == pytest.approx(whole.smallest, abs=1e-6 * whole.largest)


@pytest.mark.parametrize(
    ("shift", "passed"), [(0.0, None), (3e-7, None), (-3e-7, None), (1e-4, True), (-1e-4, False)]
)
def test_what_lanczos_cannot_see_is_open(
    shift: float, passed: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Singular, with eigenvalues crowding at 0: Lanczos ends up to 1e-6 above it and calls it 4e-8."""
    monkeypatch.setattr(spectrum_module, "MAX_EXPLICIT", 10)
    eigenvalues = torch.linspace(0, 1, 300, dtype=torch.float64) ** 4 + shift
    found = spectrum(DenseCurvature(torch.diag(eigenvalues)[None]))
    assert shift <= found.smallest + 1e-15
    assert found.smallest - shift <= found.resolution
    verdict = check_curvature([found], damping=0.0)
    assert verdict.passed is passed
    assert verdict.numbers["condition_number"] is None or passed
    if passed is None:
        assert "cannot be told" in verdict.evidence
        assert "model.l2=1e-05" in verdict.remedy


def test_negatives_of_rounding_shrink_with_the_precision_and_are_told_from_real_ones() -> None:
    risk = digits_risk(200, l2=0.0)
    theta = StochasticFit(steps=50)(risk).theta
    found = [spectrum(risk.to(dtype).curvature(theta.to(dtype))) for dtype in (torch.float32, torch.float64)]
    verdict = check_curvature(found, damping=0.0)
    assert verdict.passed is False
    assert "they are rounding" in verdict.evidence
    assert "model.l2" in verdict.remedy
    for one in found:
        counts = one.counts()
        assert counts["computed < 0"] > 10
        assert counts["negative"] == 0
    # Softmax regression without L2 has a null direction for every feature: the one common to all classes.
    assert found[1].counts()["zero up to rounding"] >= 64
    real = check_curvature([spectrum_of([-0.1, 0.5, 2.0])], damping=0.0)
    assert "train on" in real.remedy
    of_network = check_curvature([spectrum_of([-0.1, 0.5, 2.0])], damping=0.0, fit="local")
    assert "fit=local leaves saddles" in of_network.remedy
    assert real.passed is False
    assert "rounding cannot explain" in real.evidence
    assert "influence.damping=0.2" in real.remedy


def test_damping_does_not_make_a_singular_hessian_good() -> None:
    assert check_curvature([spectrum_of([0.0, 1.0])], damping=0.1).passed is False
    good = check_curvature([spectrum_of([0.01, 1.0])], damping=0.0)
    assert good.passed
    assert good.numbers["condition_number"] == pytest.approx(100)


def left(gradient_norm: float, change: float, at_most: float) -> Left:
    return Left(gradient_norm=gradient_norm, change=change, at_most=at_most, damping=0.0)


@pytest.mark.parametrize(
    ("change", "at_most", "passed"),
    [(1e-9, 1e-8, True), (5e-5, 1e-3, None), (1e-3, 1e-1, False), (1e-9, 1e-1, None), (math.nan, 1e-3, None)],
)
def test_what_training_left_is_held_against_a_typical_effect(
    change: float, at_most: float, passed: bool | None
) -> None:
    """1 % of it is good and 10 % bad; what is small in one direction by chance is not good."""
    verdict = check_convergence(left(1e-4, change, at_most), typical_effect=1e-3)
    assert verdict.passed is passed
    assert ("fit=newton" in verdict.remedy) is (passed is not True)


def test_where_no_effect_is_predicted_convergence_is_undecided() -> None:
    assert check_convergence(left(1e-4, 0.0, 0.0), typical_effect=0.0).passed is None


def test_two_opposite_outliers_do_not_turn_a_bad_fit_into_a_good_one() -> None:
    """Their gradients cancel in ∇R and are the largest of all; what is left is as bad as without them.

    θ is off the minimum in directions that the outliers do not see. Held against the largest gradient of an
    example, which is theirs, that looked small.
    """
    plain = digits_risk(300)
    far = 1000 * plain.x[:1]
    outliers = replace(
        plain,
        x=torch.cat([plain.x, far, far]),
        y=torch.cat([plain.y, plain.y[:1], (plain.y[:1] + 1) % 10]),
    )
    for risk in (plain, outliers):
        away = random_vector(plain.num_parameters).view(10, -1)
        away -= (away @ plain.x[0])[:, None] * plain.x[0] / plain.x[0].square().sum()
        theta = NewtonFit(tolerance=1e-9)(risk).theta + 0.007 * away.flatten()
        v = risk.loss_gradient(theta, *digits_test_points(1))[0]
        solution = CG(tolerance=1e-8, max_iterations=5000).at(risk.curvature(theta))(v)
        effects = influence_scores(risk, theta, solution).predicted_change.abs().sort(descending=True).values
        shown = Reference(solution=solution, damping=0.0, effects=effects[:40].numpy())
        left = what_is_left(risk.gradient(theta), solution.value, 0.0)
        assert check_convergence(left, shown.typical).passed is False


def test_a_typical_effect_is_not_that_of_a_few_outliers() -> None:
    effects = np.array([10.0, 10.0] + 38 * [1e-3])
    solution = Solution(value=torch.ones(1), status=Status.FINISHED, message="")
    assert Reference(solution=solution, damping=0.0, effects=effects).typical == 1e-3


ENDS = Ends(smallest=0.01, largest=1.0)


@pytest.mark.parametrize(
    ("settings", "passed"),
    [
        ({}, True),
        ({"depth": 500}, False),
        ({"scale": 0.05}, False),
        ({"damping": 0.1}, True),
        # One run, however good, has no spread.
        ({"repeats": 1}, None),
    ],
)
def test_lissa_is_judged_by_its_error_its_noise_and_its_divergence(
    settings: dict[str, Any], passed: bool | None
) -> None:
    risk, fit = fitted_digits(300)
    curvature, solver = risk.curvature(fit.theta), LiSSA(**settings)
    v = risk.loss_gradient(fit.theta, risk.x[:1], risk.y[:1])[0]
    exact = CG(damping=solver.damping, tolerance=1e-10).at(curvature)(v)
    solution = solver.at(curvature)(v)
    batches, error = batch_curvature(curvature, solver, v), relative_error(solution, exact)
    verdict = check_recursion(solver, batches, ENDS, solution, error)
    assert verdict.passed is passed
    left = (1 - min((0.01 + solver.damping) / solver.scale, 1)) ** (solver.depth + 1)
    if solver.scale > 1:
        assert verdict.numbers["slowest_mode_left"] == pytest.approx(left)
        # With no exact solution to measure by, the modes and the noise decide alike.
        assert check_recursion(solver, batches, ENDS, solution, None).passed is passed


def dense(*eigenvalues: float) -> DenseCurvature:
    return DenseCurvature(torch.diag(torch.tensor(eigenvalues, dtype=torch.float64))[None])


@pytest.mark.parametrize("measured", [True, False])
def test_lissa_at_half_the_largest_eigenvalue_is_bad(measured: bool) -> None:
    """Its step multiplies the top mode by −1 for ever: nothing is left of the slowest, all of the fastest."""
    curvature, v = dense(0.1, 0.5, 2.0), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    solver = LiSSA(scale=1.0, depth=501, repeats=2)
    solution, exact = solver.at(curvature)(v), CG(tolerance=1e-12).at(curvature)(v)
    error = relative_error(solution, exact)
    assert error == pytest.approx(1.0)
    ends = Ends(smallest=0.1, largest=2.0)
    verdict = check_recursion(
        solver, batch_curvature(curvature, solver, v), ends, solution, error if measured else None
    )
    assert verdict.passed is False
    assert "100% of the fastest mode" in verdict.evidence
    assert "influence.scale=2" in verdict.remedy


def test_lissa_of_a_zero_test_gradient_is_undecided() -> None:
    curvature, v = dense(0.1, 2.0), torch.zeros(2, dtype=torch.float64)
    solver = LiSSA(scale=4.0, depth=20, repeats=2)
    solution = solver.at(curvature)(v)
    ends = Ends(smallest=0.1, largest=2.0)
    verdict = check_recursion(solver, batch_curvature(curvature, solver, v), ends, solution, None)
    assert verdict.passed is None


def test_the_settings_advised_for_lissa_reach_one_per_cent() -> None:
    """On a Hessian whose batches are all alike there is no noise, and the depth alone decides."""
    curvature = dense(0.1, 0.5, 2.0)
    v = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    exact = torch.tensor([10.0, 2.0, 0.5], dtype=torch.float64)
    for solver in (LiSSA(scale=4.0, depth=20, repeats=2), LiSSA(scale=1.0, depth=500, repeats=2)):
        solution, ends = solver.at(curvature)(v), Ends(smallest=0.1, largest=2.0)
        verdict = check_recursion(solver, batch_curvature(curvature, solver, v), ends, solution, None)
        advised = dict(word.split("=") for word in verdict.remedy.split() if word.startswith("influence."))
        better = LiSSA(
            scale=float(advised["influence.scale"]), depth=int(advised["influence.depth"]), repeats=2
        )
        s = better.at(curvature)(v).value
        assert float((s - exact).norm() / exact.norm()) < 0.01
        assert float((solution.value - exact).norm() / exact.norm()) > 0.04


def test_leverage_in_the_limit_of_small_residuals_is_that_of_the_newton_step() -> None:
    """To first order in 1/n the residual grows by xᵢᵀH⁻¹xᵢ/n times the curvature of its own loss."""
    risk, fit = fitted_digits(300, l2=0.1)
    points = [3, 17, 40]
    with tempfile.TemporaryDirectory() as folder:
        cache = WeightCache(Path(folder), "key", lambda _: None)
        solve_missing(risk, fit.theta, leave_one_out(points), cache, RetrainSettings(), lambda _: None)
        found = amplification(risk, fit.theta, cache.parts())
    assert sorted(found) == points
    inverse = torch.linalg.inv(risk.curvature(fit.theta).matrix())
    for point in points:
        x, p = risk.x[point], risk.probabilities(fit.theta)[point]
        residual = p - torch.nn.functional.one_hot(risk.y[point], 10)
        gradient = torch.outer(residual, x).flatten() + risk.l2 * fit.theta
        step = (inverse @ gradient / risk.num_examples).view(10, -1) @ x
        moved = torch.softmax(risk.weights(fit.theta) @ x + step, 0)
        expected = float((moved - p + residual).norm() / residual.norm())
        assert expected > 1.005
        assert found[point] - 1 == pytest.approx(expected - 1, rel=0.1)


def test_the_training_noise_is_held_against_the_largest_effect() -> None:
    assert check_training_noise(1e-4, 0.03).passed
    assert check_training_noise(-0.5, 0.03).passed is False
    assert check_training_noise(-0.5, 0.0).passed is None


def test_the_tolerance_advised_tells_the_effects_from_0_and_none_is_advised_where_none_does() -> None:
    """Certificate = 100·(gradient norm) + 1e-6, where 1e-6 is what no tolerance changes."""
    effects, norms = np.linspace(2e-4, 1e-3, 40), np.full(40, 1e-5)
    assert check(effects, 100 * norms + 1e-6) is False
    tolerance = tolerance_that_tells(effects, 100 * norms + 1e-6, norms, 100.0)
    assert tolerance is not None
    assert check(effects, np.full(40, 100 * tolerance + 1e-6)) is True
    assert check(effects, np.full(40, 100 * 1e-5 + 1e-6)) is False
    assert tolerance_that_tells(effects, np.full(40, 1.0), norms, 100.0) is None
    assert tolerance_that_tells(np.full(40, 1e-13), 100 * norms, norms, 100.0) is None
    assert tolerance_that_tells(effects, np.zeros(40), norms, 0.0) is None


def check(effects: np.ndarray, certificates: np.ndarray) -> bool | None:
    truth = Truth(
        actual=effects, certificate=certificates, null_control=0.0, null_certificate=0.0, models=1, missed=0
    )
    return judge_truth(truth)[0].passed


def test_stochastic_training_is_reproducible_and_never_claims_a_minimum() -> None:
    risk = digits_risk(300)
    first, again, other = (StochasticFit(seed=seed)(risk) for seed in (0, 0, 1))
    assert torch.equal(first.theta, again.theta)
    assert not torch.equal(first.theta, other.theta)
    assert not first.converged
    assert first.gradient_norm == pytest.approx(float(risk.gradient(first.theta).norm()))
    # It does train: most of the way down from log 10.
    _, best = fitted_digits(300)
    assert best.value < first.value < best.value + 0.2
    adam = StochasticFit(optimiser="adam", learning_rate=0.01)(risk)
    assert best.value < adam.value < best.value + 0.2


def test_the_legend_of_the_spectrum_lies_beside_the_panel_whatever_the_data_are() -> None:
    for lowest in (1e-20, 1e-3, 0.9):
        values = np.geomspace(lowest, 1.0, 640)
        spectra = {
            name: ComputedSpectrum(eigenvalues=np.concatenate([values, -values[:100]]), rounding=1e-5)
            for name in ("float32", "float64")
        }
        figure = draw_spectrum(spectra)
        figure.draw_without_rendering()
        for axes in figure.axes:
            legend = axes.get_legend()
            assert legend is not None
            box = legend.get_window_extent()
            assert not box.overlaps(axes.bbox), lowest
            assert figure.bbox.count_contains(box.corners()) == 4
            label = axes.xaxis.label.get_window_extent()
            assert not box.overlaps(label)
