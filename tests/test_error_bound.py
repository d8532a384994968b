"""The bound on the error of s that its residual proves: never below the error, and sharp soon."""

import math

import pytest
import torch
from torch import Tensor

from influence import error_bound
from influence.error_bound import relative_error_bound
from influence.solution import damped_product
from tests.dense_curvature import DenseCurvature, random_vector, spread, with_eigenvalues

P = 30


def bound_and_error(
    curvature: DenseCurvature, s: Tensor, v: Tensor, smallest: float, enough: float = 0.0
) -> tuple[float, float]:
    product, matrix = damped_product(curvature, 0.0), curvature.matrix()
    bound = relative_error_bound(product, s, v - product(s), smallest, float(matrix.norm()), enough)
    exact = torch.linalg.solve(matrix, v)
    return bound, float((s - exact).norm() / exact.norm())


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("num_products", [0, 1, 2, 3, 5, 8, 13, 30])
@pytest.mark.parametrize("smallest", [0.5, 1e-2, 1e-5])
def test_it_is_never_below_the_error(
    smallest: float, num_products: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the error's size and direction, and the share of the smallest eigenvalue that is known."""
    monkeypatch.setattr(error_bound, "MAX_PRODUCTS", num_products)
    for seed in range(20):
        curvature, v = with_eigenvalues(spread(smallest, P), seed), random_vector(P, seed)
        values, vectors = torch.linalg.eigh(curvature.matrix())
        # Errors of all modes alike, of the slow ones most, of the fast ones most.
        modes = random_vector(P, 100 + seed) * values ** (seed % 3 - 1)
        exact = torch.linalg.solve(curvature.matrix(), v)
        s = exact + 10.0 ** (-seed / 4) * float(exact.norm() / modes.norm()) * vectors @ modes
        bound, error = bound_and_error(curvature, s, v, share * float(values[0]))
        assert bound >= error


def test_without_a_product_it_is_the_residual_over_the_smallest_eigenvalue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(error_bound, "MAX_PRODUCTS", 0)
    curvature, v = with_eigenvalues(spread(0.1, P)), random_vector(P)
    s = torch.linalg.solve(curvature.matrix(), v) + 1e-3 * random_vector(P, 2)
    distance = float((v - curvature.matrix() @ s).norm()) / 0.1
    bound, _ = bound_and_error(curvature, s, v, 0.1)
    assert bound == pytest.approx(distance / (float(s.norm()) - distance), rel=1e-5)


def test_products_make_it_sharp() -> None:
    curvature, v = with_eigenvalues(spread(0.01, P)), random_vector(P)
    s = torch.linalg.solve(curvature.matrix(), v) + 1e-3 * random_vector(P, 2)
    bound, error = bound_and_error(curvature, s, v, 0.005)
    assert bound == pytest.approx(error, rel=1e-3)


def test_it_takes_no_product_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    curvature, v = with_eigenvalues(spread(0.01, P)), random_vector(P)
    s = torch.linalg.solve(curvature.matrix(), v) + 1e-3 * random_vector(P, 2)
    _, error = bound_and_error(curvature, s, v, 0.01)
    taken = []
    matrix = curvature.matrix()

    def product(u: Tensor) -> Tensor:
        taken.append(u)
        return matrix @ u

    bound = relative_error_bound(product, s, v - matrix @ s, 0.01, 1.0, 2 * error)
    assert error <= bound <= 2 * error
    assert len(taken) < 10
    monkeypatch.setattr(error_bound, "MAX_PRODUCTS", len(taken) - 1)
    assert bound_and_error(curvature, s, v, 0.01, 2 * error)[0] > 2 * error


def test_an_eigenvalue_below_the_smallest_that_is_claimed_leaves_no_bound() -> None:
    curvature, v = with_eigenvalues(spread(0.01, P)), random_vector(P)
    s = torch.linalg.solve(curvature.matrix(), v) + 1e-3 * random_vector(P, 2)
    assert bound_and_error(curvature, s, v, 0.02)[0] == math.inf


def test_an_s_that_is_all_error_has_no_bound_and_a_zero_for_a_zero_no_error() -> None:
    curvature, v = with_eigenvalues(spread(0.1, P)), random_vector(P)
    assert bound_and_error(curvature, torch.zeros(P, dtype=torch.float64), v, 0.1)[0] == math.inf
    nothing = torch.zeros_like(v)
    assert relative_error_bound(damped_product(curvature, 0.0), nothing, nothing, 0.1, 1.0, 0.01) == 0
    nan = torch.full_like(v, math.nan)
    assert relative_error_bound(damped_product(curvature, 0.0), nan, nan, 0.1, 1.0, 0.01) == math.inf


def test_what_rounding_hides_from_the_residual_is_in_it() -> None:
    """An s whose residual comes out as 0 is still not exact to the last bit."""
    curvature, v = with_eigenvalues(spread(1e-10, P)), random_vector(P)
    s = torch.linalg.solve(curvature.matrix(), v)
    bound = relative_error_bound(damped_product(curvature, 0.0), s, torch.zeros_like(v), 1e-10, 1.0, 0.0)
    assert 1e-6 < bound < 1e-3
