"""A preconditioner changes how many iterations conjugate gradient takes, and not where it ends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from erm.autograd import AutogradRisk
from erm.kronecker import KroneckerInverse, identity, kronecker_inverse
from erm.networks import SoftmaxRegression
from influence.cg import CG
from influence.solution import Status
from tests.command_line import FAST, repro, succeed
from tests.problems import digits_risk, fitted_digits

NAMES: tuple[Any, ...] = ("none", "kronecker")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.05])
@pytest.mark.parametrize("name", NAMES)
def test_cg_ends_at_the_known_solution(name: Any, damping: float, bias: bool) -> None:
    risk, fit = fitted_digits(300, bias=bias)
    curvature = risk.curvature(fit.theta)
    known = torch.randn(risk.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = curvature.product(known[None])[0] + damping * known
    solver = CG(preconditioner=name, damping=damping, tolerance=1e-12, subsample_size=200)
    solution = solver.at(curvature)(v)
    assert solution.status is Status.CONVERGED
    # The residual of 1e-12, times the condition number of about 90.
    assert float((solution.value - known).norm() / known.norm()) < 1e-10


def test_preconditioners_save_iterations() -> None:
    risk, fit = fitted_digits(1500, l2=1e-3)
    v = risk.loss_gradient(fit.theta, risk.x[:1], risk.y[:1])[0]
    products = {
        name: CG(preconditioner=name, tolerance=1e-10, subsample_size=1000).at(risk.curvature(fit.theta))(v)
        for name in NAMES
    }
    assert products["kronecker"].num_hvps < products["none"].num_hvps


def test_an_operator_of_ones_own_takes_the_place_of_the_named_one() -> None:
    risk, fit = fitted_digits(300)
    curvature = risk.curvature(fit.theta)
    v = torch.randn(risk.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factor = torch.linalg.cholesky(curvature.matrix())
    solution = CG().at(curvature, precondition=lambda r: torch.cholesky_solve(r[:, None], factor)[:, 0])(v)
    assert solution.status is Status.CONVERGED
    # With the inverse itself, one iteration.
    assert [step for step, _ in solution.trace] == [1]


def test_the_eigenvectors_of_the_features_are_taken_over_and_nothing_else() -> None:
    risk, fit = fitted_digits(300)
    here, there = risk.curvature(fit.theta), risk.curvature(risk.initial_parameters())
    before = kronecker_inverse(there)
    again, anew = kronecker_inverse(here, before=before), kronecker_inverse(here)
    assert isinstance(before, KroneckerInverse)
    assert isinstance(again, KroneckerInverse)
    assert again.g_vectors is before.g_vectors
    v = torch.randn(risk.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(again(v), anew(v), rtol=0, atol=0)
    other = digits_risk(200).curvature(fit.theta)
    torch.testing.assert_close(
        kronecker_inverse(other, before=before)(v), kronecker_inverse(other)(v), rtol=0, atol=0
    )


def test_factors_that_overflow_precondition_nothing() -> None:
    risk = replace(digits_risk(50), x=1e30 * digits_risk(50).x)
    assert kronecker_inverse(risk.curvature(risk.initial_parameters())) is identity


def test_kronecker_factors_are_exact_for_one_example() -> None:
    risk = digits_risk(300).subset(torch.tensor([7]))
    theta = torch.randn(risk.num_parameters, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    curvature = risk.curvature(theta)
    a, g = curvature.kronecker_factors()
    expected = curvature.matrix() - risk.l2 * torch.eye(risk.num_parameters, dtype=torch.float64)
    torch.testing.assert_close(torch.kron(a, g), expected, rtol=0, atol=1e-14)


def test_a_singular_hessian_is_said_with_any_preconditioner() -> None:
    risk = digits_risk(300, l2=0.0)
    v = risk.loss_gradient(risk.initial_parameters(), risk.x[:1], risk.y[:1])[0]
    for name in NAMES:
        solution = CG(preconditioner=name).at(risk.curvature(risk.initial_parameters()))(v)
        assert solution.status is Status.SINGULAR, name


def test_a_model_without_kronecker_factors_is_solved_without_and_told_so(tmp_path: Path) -> None:
    x, y = digits_risk(50).x, digits_risk(50).y
    risk = AutogradRisk(module=SoftmaxRegression(64, 10, bias=False), x=x, y=y, l2=0.01)
    theta = risk.initial_parameters()
    curvature, v = risk.curvature(theta), risk.loss_gradient(theta, x[:1], y[:1])[0]
    asked, plain = CG().at(curvature)(v), CG(preconditioner="none").at(curvature)(v)
    torch.testing.assert_close(asked.value, plain.value, rtol=0, atol=0)
    assert "without preconditioner" in asked.message
    assert "without preconditioner" not in plain.message
    overrides = [*FAST, "model=logistic_autograd", f"output_dir={tmp_path}/run"]
    succeed("train", *overrides)
    assert "without preconditioner" in succeed("influence", "--method", "cg", *overrides)


def test_the_preconditioner_that_is_gone_is_answered_by_what_to_take() -> None:
    result = repro("influence", "--method", "cg", "influence.preconditioner=subsample", *FAST)
    assert result.exit_code == 2
    assert "influence.preconditioner=subsample: gone; take kronecker" in result.stderr
    assert "none' or 'kronecker'" in repro("config", "influence.preconditioner=other", "influence=cg").stderr
