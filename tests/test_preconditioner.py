"""A preconditioner changes how many iterations conjugate gradient takes, and not where it ends."""

from pathlib import Path
from typing import Any

import pytest
import torch

from erm.autograd import AutogradRisk, SoftmaxRegression
from influence.cg import CG
from influence.preconditioner import PreconditionerError, build
from influence.solution import Status
from tests.command_line import FAST, repro, succeed
from tests.problems import digits_risk, fitted_digits

NAMES: tuple[Any, ...] = ("none", "subsample", "kronecker")


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
    assert products["subsample"].num_hvps < 0.5 * products["none"].num_hvps
    assert products["kronecker"].num_hvps < products["none"].num_hvps


def test_a_subsample_of_everything_is_the_inverse() -> None:
    risk, fit = fitted_digits(300)
    curvature = risk.curvature(fit.theta)
    v = torch.randn(risk.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    apply = build("subsample", curvature, 0.1, subsample_size=10**6, device=v.device)
    back = curvature.product(apply(v)[None])[0] + 0.1 * apply(v)
    # The factor is in float32.
    assert float((back - v).norm() / v.norm()) < 1e-5


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


def test_a_model_without_kronecker_factors_is_told_so(tmp_path: Path) -> None:
    x, y = digits_risk(50).x, digits_risk(50).y
    risk = AutogradRisk(module=SoftmaxRegression(64, 10, bias=False), x=x, y=y, l2=0.01)
    theta = risk.initial_parameters()
    with pytest.raises(PreconditionerError, match="subsample"):
        CG(preconditioner="kronecker").at(risk.curvature(theta))
    settings = CG(preconditioner="subsample", subsample_size=30, tolerance=1e-10)
    solution = settings.at(risk.curvature(theta))(risk.loss_gradient(theta, x[:1], y[:1])[0])
    assert solution.status is Status.CONVERGED
    overrides = [*FAST, "model=logistic_autograd", f"output_dir={tmp_path}/run"]
    succeed("train", *overrides)
    result = repro("influence", "--method", "cg", "influence.preconditioner=kronecker", *overrides)
    assert result.exit_code == 2
    assert "Kronecker" in result.stderr
