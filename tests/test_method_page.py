"""docs/method.md: what it links to exists, constants have its values, equations are what is computed."""

import ast
import importlib
import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from erm.kronecker import kronecker_inverse
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.solution import Status
from retrain.certificate import gradient_rounding_bound
from retrain.ground_truth import ground_truth
from retrain.preconditioner import build_preconditioner
from retrain.prepare import removal_problem
from retrain.probability_change import probability_change
from retrain.removal import NOTHING
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache
from tests.command_line import PROJECT
from tests.dense_curvature import random_vector, with_eigenvalues
from tests.problems import batch_of, digits_test_points, fitted_digits, read_all, solve_missing

PAGE = (PROJECT / "docs" / "method.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\[`([^`]+)`\]\(([^)]+)\)", PAGE)
CONSTANTS = re.findall(r"\[`([A-Z_]+)`\]\(\.\./([\w/]+)\.py\)\s*=\s*([\d.e-]*\d)", PAGE)
U = 2.0**-53


@cache
def defined(path: str) -> set[str]:
    """Functions, classes, methods and constants of a file, methods as Class.method."""
    names = set()
    for node in ast.parse((PROJECT / "docs" / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_the_page_has_links_and_constants_to_check() -> None:
    assert len(LINKS) > 50
    assert len(CONSTANTS) == len([name for name, _ in LINKS if name.isupper()])


@pytest.mark.parametrize(("name", "path"), sorted(set(LINKS)))
def test_what_the_page_links_to_exists(name: str, path: str) -> None:
    assert path.startswith("../")
    assert name in defined(path), f"docs/method.md links to {name} in {path}, which is not there"


@pytest.mark.parametrize(("name", "module", "value"), CONSTANTS)
def test_constants_have_the_values_that_the_page_gives(name: str, module: str, value: str) -> None:
    assert getattr(importlib.import_module(module.replace("/", ".")), name) == float(value)


def test_equations_are_delimited_as_they_render() -> None:
    """Inline as $`…`$ and in blocks of math, where Markdown touches nothing; braces balance."""
    blocks = re.findall(r"```math\n(.*?)```", PAGE, re.DOTALL)
    prose = re.sub(r"```math\n.*?```", "", PAGE, flags=re.DOTALL)
    inline = re.findall(r"\$`([^`]+)`\$", prose)
    assert prose.count("$") == 2 * len(inline)
    assert not any("\n" in formula for formula in inline)
    for formula in [*blocks, *inline]:
        assert formula.count("{") == formula.count("}"), formula
        left, right = (len(re.findall(rf"\\{side}(?![a-z])", formula)) for side in ("left", "right"))
        assert left == right, formula
        assert not re.search(r"[<>]", formula), f"a tag to some renderers: {formula}"


def test_the_block_of_the_preconditioner_is_the_equation() -> None:
    """M_kl = C_kl + λ(δ_kl − 1/K)I, up to the share of the curvature that is left out."""
    risk, fit = fitted_digits(300)
    problem = removal_problem(risk, fit.theta)
    factor = build_preconditioner(problem, torch.float64).factor
    num_classes, d = problem.num_classes, problem.num_features
    p, x = problem.probabilities, problem.x
    blocks = torch.einsum("nk,kl,nd,ne->kdle", p, torch.eye(num_classes).to(p), x, x)
    blocks = (blocks - torch.einsum("nk,nl,nd,ne->kdle", p, p, x, x)) / 300
    identity, centring = torch.eye(d).to(p), torch.eye(num_classes).to(p) - 1 / num_classes
    blocks += 0.01 * torch.einsum("kl,de->kdle", centring, identity)
    free = num_classes - 1
    truth = blocks[:free, :, :free].reshape(free * d, free * d)
    left_out = torch.linalg.matrix_norm(factor @ factor.T - truth, ord=2)
    assert float(left_out) < 0.01 * float(torch.linalg.matrix_norm(truth, ord=2))


def test_the_gradient_without_a_point_is_the_equation() -> None:
    risk, fit = fitted_digits(300)
    problem = removal_problem(risk, fit.theta)
    delta = 0.1 * random_vector(fit.theta.numel()).view(1, 10, -1)[:, :, problem.active]
    delta = delta - delta.mean(1, keepdim=True)
    found = problem.measure(batch_of((17,)), delta).gradients[0]
    x, p, y = problem.x, problem.probabilities, problem.labels
    tau = x @ delta[0].T
    sigma = (p * torch.expm1(tau)).sum(1, keepdim=True)
    change = p * (torch.exp(tau) - 1 - sigma) / (1 + sigma)
    torch.testing.assert_close(probability_change(p.log(), tau), change)
    total = (p - y).T @ x + change.T @ x - torch.outer(p[17] + change[17] - y[17], x[17])
    torch.testing.assert_close(found, total / 299 + 0.01 * (problem.weights + delta[0]))


def test_certificate_and_rounding_bound_are_the_equations(tmp_path: Path) -> None:
    risk, fit = fitted_digits(300)
    cache_folder = WeightCache(tmp_path, "key", lambda _: None)
    solve_missing(risk, fit.theta, [(3,), (17,)], cache_folder, RetrainSettings(), lambda _: None)
    stored = read_all(cache_folder)
    assert stored is not None
    x_test, y_test = digits_test_points(2)
    truth = ground_truth(risk, fit.theta, [stored], x_test, y_test)
    problem = removal_problem(risk, fit.theta)
    n, d, lengths = 300, problem.num_features, risk.x.norm(dim=1)
    m1, m2 = float(lengths.mean()), float(lengths.square().mean())

    def gamma(m: int) -> float:
        return m * U / (1 - m * U)

    def rho(delta: float) -> float:
        omega = float(problem.weights.norm()) + (1 + math.sqrt(10)) * delta
        sums = 2 * math.sqrt(20) * gamma(min(1024, n) + 1 + 1) + (35 * 10 + 160) * U
        regulariser = 4 * U * risk.l2 * (float(problem.weights.norm()) + delta)
        return 2 * n / (n - 1) * ((gamma(d) + 26 * U) * omega * m2 + sums * m1) + regulariser

    norms = np.linalg.norm(stored.differences.reshape(3, -1), axis=1)
    bounds = gradient_rounding_bound(problem, torch.ones(3).double(), torch.from_numpy(norms)).numpy()
    np.testing.assert_allclose(bounds, [rho(norm) for norm in norms], rtol=1e-12)
    at_fit = float(problem.gradient_at_fit(batch_of(NOTHING)).norm())
    for column, norm in enumerate(norms):
        model = (stored.gradient_norms[column] + rho(norm)) / risk.l2
        assert stored.distance_bounds[column] == pytest.approx(model, rel=1e-9)
        distance = stored.distance_bounds[column] + (at_fit + rho(0.0)) / risk.l2
        for row, x in enumerate(x_test):
            a, b = float(fit.theta.norm() * x.norm()), float(norm * x.norm())
            small = b * (4 + 6 * (2 * a + 26))
            large = max(small, 4 * a + 4 * b + 26)
            rounding = (gamma(risk.num_features) + 26 * U) * (small if b <= 1 else large)
            expected = math.sqrt(2) * float(x.norm()) * distance + rounding
            assert truth.bound[row, column] == pytest.approx(expected, rel=1e-9)


def test_what_lissa_leaves_of_a_mode_is_the_equation() -> None:
    """One example, so no noise: s is short of A⁻¹v by (1 − (μ + damping)/c)^(T+1) in each eigenvector."""
    curvature, v = with_eigenvalues(torch.tensor([0.01, 0.5, 2.0], dtype=torch.float64)), random_vector(3)
    found = LiSSA(scale=4.0, depth=300, repeats=1, damping=0.1).at(curvature)(v)
    values, vectors = torch.linalg.eigh(curvature.matrix())
    left = (1 - (values + 0.1) / 4.0) ** 301
    torch.testing.assert_close(vectors.T @ found.value, (1 - left) * (vectors.T @ v) / (values + 0.1))
    assert "13 %" in PAGE
    assert math.isclose((1 - 0.01 / 25) ** 5001, 0.13, abs_tol=0.01)


@pytest.mark.parametrize("damping", [0.0, 0.5, 3.0])
def test_the_refusal_of_lissa_is_the_condition(damping: float) -> None:
    """E[(μ_B + damping)²]/E[μ_B + damping] > 2c, expectations over the sampled batches."""
    moments = (
        rf"\mathbb{{E}}\left[ {alpha} \right]"
        for alpha in (r"(\mu_B + \mathrm{damping})^2", r"\mu_B + \mathrm{damping}")
    )
    assert r"\frac{" + "}{".join(moments) + r"} \gt 2 c" in PAGE
    risk, fit = fitted_digits(300)
    curvature, v = risk.curvature(fit.theta), random_vector(fit.theta.numel())
    alpha = LiSSA().batch_eigenvalues(curvature, v) + damping
    edge = float(alpha.square().mean() / alpha.mean()) / 2
    for scale, refused in ((0.999 * edge, True), (1.001 * edge, False)):
        found = LiSSA(scale=scale, damping=damping, depth=1).at(curvature)(v)
        assert (found.status is Status.REFUSED) is refused


def test_the_scale_and_depth_that_lissa_auto_chooses_are_the_equations() -> None:
    risk, fit = fitted_digits(300)
    curvature, v = risk.curvature(fit.theta), random_vector(fit.theta.numel())
    found = LiSSAAuto(target=0.2, damping=0.1).at(curvature)(v)
    largest = float(LiSSA(batch_size=4).batch_eigenvalues(curvature, v).max())
    scale = (1.1 * (largest + 0.1) + 0.11) / 2
    depth = math.ceil(scale * math.log(10) / 0.11)
    assert f"scale {scale:.3g}, " in found.message
    assert f"epochs of {depth} steps" in found.message
    # Both ends of the spectrum are left with at most a tenth.
    assert max(abs(1 - (largest + 0.1) / scale), 1 - 0.11 / scale) ** depth <= 0.1


def test_the_kronecker_preconditioner_is_the_equation() -> None:
    risk, fit = fitted_digits(300)
    v = random_vector(fit.theta.numel())
    found = kronecker_inverse(risk.curvature(fit.theta), 0.02, sample=300)
    p = risk.probabilities(fit.theta)
    a = (torch.diag(p.sum(0)) - p.T @ p) / 300
    matrix = torch.kron(a, risk.x.T @ risk.x / 300) + 0.03 * torch.eye(len(v)).to(v)
    # The factors are summed in float32.
    torch.testing.assert_close(found(v), torch.linalg.solve(matrix, v), rtol=1e-3, atol=1e-3)
