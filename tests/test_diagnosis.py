"""Each check finds the fault it is there for, in problems made to have it, and passes those without."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnosis.conventions import check_conventions
from diagnosis.convergence import check_convergence, largest_example_gradient
from diagnosis.curvature import check_curvature
from diagnosis.recursion import batch_curvature, check_recursion
from diagnosis.signal import check_signal, check_training_noise
from erm.sgd import StochasticFit
from influence import spectrum as spectrum_module
from influence.lissa import LiSSA
from influence.spectrum import Spectrum, spectrum
from tests.command_line import FAST, repro, succeed
from tests.dense_curvature import DenseCurvature
from tests.problems import digits_risk, fitted_digits


def spectrum_of(eigenvalues: list[float], precision: str = "float64") -> Spectrum:
    values = np.sort(np.array(eigenvalues))
    return Spectrum(eigenvalues=values, num_parameters=len(values), precision=precision, complete=True)


def test_spectrum_is_that_of_the_explicit_hessian() -> None:
    risk, fit = fitted_digits(200)
    found = spectrum(risk.curvature(fit.theta), torch.float64, fit.theta.device)
    expected = torch.linalg.eigvalsh(risk.curvature(fit.theta).matrix()).numpy()
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-14)
    # L2 alone acts on what no example sees and on what is common to all classes.
    assert found.smallest == pytest.approx(0.01, abs=1e-14)
    assert found.counts()["zero up to rounding"] == 0


def test_lanczos_finds_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    risk, fit = fitted_digits(200)
    whole = spectrum(risk.curvature(fit.theta), torch.float64, fit.theta.device)
    monkeypatch.setattr(spectrum_module, "MAX_EXPLICIT", 10)
    ends = spectrum(risk.curvature(fit.theta), torch.float64, fit.theta.device)
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
    found = spectrum(DenseCurvature(torch.diag(eigenvalues)[None]), torch.float64, torch.device("cpu"))
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
    found = [
        spectrum(risk.to(dtype).curvature(theta.to(dtype)), dtype, theta.device)
        for dtype in (torch.float32, torch.float64)
    ]
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
    assert real.passed is False
    assert "rounding cannot explain" in real.evidence
    assert "influence.damping=0.2" in real.remedy


def test_damping_does_not_make_a_singular_hessian_good() -> None:
    assert check_curvature([spectrum_of([0.0, 1.0])], damping=0.1).passed is False
    good = check_curvature([spectrum_of([0.01, 1.0])], damping=0.0)
    assert good.passed
    assert good.numbers["condition_number"] == pytest.approx(100)


@pytest.mark.parametrize(("gradient_norm", "passed"), [(1e-8, True), (1e-1, False)])
def test_the_gradient_left_is_measured_by_a_removal(gradient_norm: float, passed: bool) -> None:
    verdict = check_convergence(gradient_norm, 10.0, 1000, remaining_change=0.5, damping=0.0)
    assert verdict.passed is passed
    assert verdict.numbers["ratio"] == pytest.approx(gradient_norm / 0.01)
    assert ("fit=newton" in verdict.remedy) is not passed


def test_largest_example_gradient_is_that_of_the_whole_loss() -> None:
    risk, fit = fitted_digits(100)
    theta = fit.theta
    expected = max(
        float(risk.subset(torch.tensor([row])).gradient(theta).norm()) for row in range(risk.num_examples)
    )
    assert largest_example_gradient(risk, theta, risk.x, risk.y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "passed"),
    [({}, True), ({"depth": 500}, False), ({"scale": 0.05}, False), ({"damping": 0.1}, True)],
)
def test_lissa_is_judged_by_its_slowest_mode_its_noise_and_its_divergence(
    settings: dict[str, Any], passed: bool
) -> None:
    risk, fit = fitted_digits(300)
    curvature, solver = risk.curvature(fit.theta), LiSSA(**settings)
    v = risk.loss_gradient(fit.theta, risk.x[:1], risk.y[:1])[0]
    verdict = check_recursion(solver, batch_curvature(curvature, solver, v), 0.01, solver.at(curvature)(v))
    assert verdict.passed is passed
    left = (1 - min((0.01 + solver.damping) / solver.scale, 1)) ** (solver.depth + 1)
    assert verdict.numbers["slowest_mode_left"] == pytest.approx(left)


def test_the_settings_advised_for_lissa_reach_one_per_cent() -> None:
    """On a Hessian whose batches are all alike there is no noise, and the depth alone decides."""
    curvature = DenseCurvature(torch.diag(torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64))[None])
    v = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    solver = LiSSA(scale=4.0, depth=20, repeats=2)
    verdict = check_recursion(solver, batch_curvature(curvature, solver, v), 0.1, solver.at(curvature)(v))
    advised = dict(word.split("=") for word in verdict.remedy.split() if word.startswith("influence."))
    better = LiSSA(scale=float(advised["influence.scale"]), depth=int(advised["influence.depth"]), repeats=2)
    s = better.at(curvature)(v).value
    exact = torch.tensor([10.0, 2.0, 0.5], dtype=torch.float64)
    assert float((s - exact).norm() / exact.norm()) < 0.01
    assert float((solver.at(curvature)(v).value - exact).norm() / exact.norm()) > 0.3


def test_effects_below_their_certificates_are_counted() -> None:
    effects, certificates = np.array([1e-3, -2e-3, 1e-9]), np.full(3, 1e-7)
    verdict = check_signal(effects, certificates, null_control=1e-12)
    assert verdict.passed is False
    assert verdict.numbers["undecided"] == 1
    assert check_signal(effects[:2], certificates[:2], 1e-12).passed
    assert check_training_noise(1e-4, 0.03).passed
    assert check_training_noise(-0.5, 0.03).passed is False


@pytest.mark.parametrize(
    ("factor", "shift", "remedy"),
    [(1.0, 0.0, ""), (25.0, 0.0, "25 times"), (-1.0, 0.0, "sign"), (1.0, 1e-2, "shifted")],
)
def test_conventions_are_told_from_each_other(factor: float, shift: float, remedy: str) -> None:
    actual = np.random.default_rng(0).normal(size=10) * 0.05
    verdict = check_conventions("mine", factor * actual / 1.05 + shift, actual)
    assert verdict.passed is (remedy == "")
    assert remedy.replace("25", "23.8") in verdict.remedy


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


def test_diagnose_trusts_the_default_and_says_why(tmp_path: Path) -> None:
    said = succeed("diagnose", *FAST, f"output_dir={tmp_path}/run")
    assert "can be trusted" in said
    diagnosis = json.loads((tmp_path / "run" / "diagnosis.json").read_text())
    assert diagnosis["trusted"] is True
    assert (tmp_path / "run" / "plots" / "spectrum.png").stat().st_size > 1000


def test_diagnose_names_what_broke_the_report_and_its_advice_repairs_it(tmp_path: Path) -> None:
    """The reported attempt, on digits: no L2, a bias, SGD in float32."""
    report = [*FAST, "model.l2=0.0", "model.bias=true", "influence.damping=1e-4"]
    result = repro("diagnose", *report, "fit=sgd", f"output_dir={tmp_path}/report")
    assert result.exit_code == 1
    checks = json.loads((tmp_path / "report" / "diagnosis.json").read_text())["checks"]
    failed = {check["check"] for check in checks if check["passed"] is False}
    assert {"converged", "curvature", "signal"} <= failed
    (advice,) = [line for line in result.stdout.splitlines() if line.startswith("The smallest change")]
    repaired = advice.split(": ", 1)[1].split()
    assert set(repaired) == {"model.l2=0.01", "fit=newton"}
    succeed("diagnose", *report, *repaired, f"output_dir={tmp_path}/repaired")
