"""Small recursions run on one thread, and give the others back however they end."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from erm.softmax import SoftmaxCurvature
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.solution import Solver
from influence.threads import SMALL_STEP, threads_for
from tests.problems import digits_test_points, fitted_digits

SOLVERS: list[Solver] = [LiSSA(depth=100), LiSSAAuto(target=0.2, damping=0.2)]
in_both = pytest.mark.parametrize("solver", SOLVERS, ids=["lissa", "lissa_auto"])


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """As there were before the test, afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def solve(solver: Solver) -> Tensor:
    risk, fit = fitted_digits(300)
    x, y = digits_test_points(1)
    return solver.at(risk.curvature(fit.theta))(risk.loss_gradient(fit.theta, x, y)[0]).value


def test_a_small_step_has_one_thread_and_a_large_one_keeps_all() -> None:
    with threads_for(SMALL_STEP - 1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_for(SMALL_STEP):
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize("ends_with", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_threads_come_back_however_the_block_ends(ends_with: type[BaseException]) -> None:
    with pytest.raises(ends_with), threads_for(1):
        raise ends_with
    assert torch.get_num_threads() == 2


@in_both
def test_the_batch_products_of_a_recursion_have_one_thread(
    solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, batch_product = set(), SoftmaxCurvature.batch_product

    def watched(self: SoftmaxCurvature, indices: Tensor, v: Tensor) -> Tensor:
        seen.add(torch.get_num_threads())
        return batch_product(self, indices, v)

    monkeypatch.setattr(SoftmaxCurvature, "batch_product", watched)
    solve(solver)
    assert seen == {1}
    assert torch.get_num_threads() == 2


@in_both
def test_an_interrupted_recursion_gives_them_back(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, batch_product = [], SoftmaxCurvature.batch_product

    def interrupted(self: SoftmaxCurvature, indices: Tensor, v: Tensor) -> Tensor:
        calls.append(torch.get_num_threads())
        # The first ten are power iterations.
        if len(calls) == 20:
            raise KeyboardInterrupt
        return batch_product(self, indices, v)

    monkeypatch.setattr(SoftmaxCurvature, "batch_product", interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve(solver)
    assert calls[-1] == 1
    assert torch.get_num_threads() == 2


@in_both
def test_the_numbers_are_those_of_two_threads(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    on_one = solve(solver)
    monkeypatch.setattr("influence.threads.SMALL_STEP", 0)
    assert torch.equal(solve(solver), on_one)
