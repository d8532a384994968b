"""`Exact`, `CG` and `GradDot`: right answers where there is one, and no numbers where there is none."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from erm.softmax import SoftmaxCurvature
from influence.cg import CG
from influence.exact import Exact
from influence.grad_dot import GradDot
from influence.lissa import LiSSA
from influence.solution import Solution, Solver, Status
from tests.dense_curvature import DenseCurvature, random_vector, spread, with_eigenvalues

SOLVERS: dict[str, Callable[[float], Solver]] = {
    "exact": lambda damping: Exact(damping=damping),
    "cg": lambda damping: CG(damping=damping, tolerance=1e-12, max_iterations=5000),
}
both = pytest.mark.parametrize("make", SOLVERS.values(), ids=SOLVERS.keys())


def softmax_curvature(l2: float) -> SoftmaxCurvature:
    """The Hessian of softmax regression on 200 examples, 12 features and 5 classes: p = 60."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 12, generator=generator, dtype=torch.float64)
    logits = 2 * torch.randn(200, 5, generator=generator, dtype=torch.float64)
    return SoftmaxCurvature(x, torch.softmax(logits, dim=1), l2)


def assert_no_numbers(solution: Solution, status: Status) -> None:
    assert solution.status is status
    assert solution.status.failed
    assert solution.value.isnan().all()
    assert solution.repeats is None
    assert "Remedy: " in solution.message


@both
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_solver_finds_the_known_solution_and_that_of_a_dense_solve(
    make: Callable[[float], Solver], damping: float
) -> None:
    curvature = with_eigenvalues(spread(0.05, 40))
    damped = curvature.matrix() + damping * torch.eye(40, dtype=torch.float64)
    x = random_vector(40)
    v = damped @ x
    solution = make(damping).at(curvature)(v)
    assert solution.status is Status.CONVERGED
    # A residual of 1e-12 and a condition number of 20 leave two digits to spare.
    torch.testing.assert_close(solution.value, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(solution.value, torch.linalg.solve(damped, v), rtol=0, atol=1e-10)
    assert solution.relative_residual is not None
    assert solution.relative_residual <= 1e-12


@both
def test_prepared_solver_answers_one_vector_after_another(make: Callable[[float], Solver]) -> None:
    curvature = with_eigenvalues(spread(0.05, 20))
    solve = make(0.0).at(curvature)
    for seed in range(3):
        x = random_vector(20, seed)
        torch.testing.assert_close(solve(curvature.matrix() @ x).value, x, rtol=0, atol=1e-10)


@both
def test_reported_residual_is_the_true_one(make: Callable[[float], Solver]) -> None:
    curvature, v = with_eigenvalues(spread(1e-5, 30)), random_vector(30)
    solution = make(1e-4).at(curvature)(v)
    residual = v - curvature.matrix() @ solution.value - 1e-4 * solution.value
    assert solution.relative_residual is not None
    # Both are rounding of the order ε·‖A‖‖s‖/‖v‖, summed in different orders; ‖s‖/‖v‖ is under 1e4.
    assert float(residual.norm() / v.norm()) == pytest.approx(solution.relative_residual, rel=0.5, abs=2e-12)


@both
@pytest.mark.parametrize("in_range", [True, False])
def test_softmax_without_l2_is_refused_with_its_remedy(
    make: Callable[[float], Solver], in_range: bool
) -> None:
    curvature = softmax_curvature(l2=0.0)
    v = random_vector(curvature.num_parameters)
    # For v in the range of H there are solutions, infinitely many of them, and CG would return one.
    v = curvature.product(v[None])[0] if in_range else v
    solution = make(0.0).at(curvature)(v)
    assert_no_numbers(solution, Status.SINGULAR)
    assert "model.l2=0.01" in solution.message
    assert "influence.damping=0.01" in solution.message


@both
def test_damping_replaces_l2(make: Callable[[float], Solver]) -> None:
    v = random_vector(60)
    without_l2 = make(0.01).at(softmax_curvature(l2=0.0))(v)
    with_l2 = make(0.0).at(softmax_curvature(l2=0.01))(v)
    assert without_l2.status is Status.CONVERGED
    # Residuals of 1e-12·‖v‖, divided by the smallest eigenvalue 0.01, against ‖s‖ of the order ‖v‖/0.01.
    torch.testing.assert_close(without_l2.value, with_l2.value, rtol=0, atol=1e-8)


@both
@pytest.mark.parametrize("l2", [1e-3, 1e-4])
def test_small_l2_raises_no_false_alarm(make: Callable[[float], Solver], l2: float) -> None:
    curvature = softmax_curvature(l2)
    x = random_vector(curvature.num_parameters)
    solution = make(0.0).at(curvature)(curvature.product(x[None])[0])
    assert solution.status is Status.CONVERGED
    # The residual, 1e-12·‖Hx‖ with ‖Hx‖ < 10‖x‖, divided by the smallest eigenvalue.
    assert float((solution.value - x).norm() / x.norm()) < 1e-11 / l2


@both
@pytest.mark.parametrize("seed", range(5))
def test_any_null_vector_is_found_even_for_a_right_hand_side_in_the_range(
    make: Callable[[float], Solver], seed: int
) -> None:
    eigenvalues = spread(0.01, 30)
    eigenvalues[0] = 0.0
    curvature = with_eigenvalues(eigenvalues, seed)
    solve = make(0.0).at(curvature)
    assert_no_numbers(solve(curvature.matrix() @ random_vector(30)), Status.SINGULAR)
    assert_no_numbers(solve(random_vector(30)), Status.SINGULAR)


@both
@pytest.mark.parametrize("seed", range(5))
def test_an_eigenvalue_far_below_the_others_raises_no_false_alarm(
    make: Callable[[float], Solver], seed: int
) -> None:
    eigenvalues = spread(0.01, 30)
    eigenvalues[0] = 1e-9
    curvature = with_eigenvalues(eigenvalues, seed)
    assert make(0.0).at(curvature)(curvature.matrix() @ random_vector(30)).status is Status.CONVERGED


@both
def test_negative_curvature_is_refused_until_damping_exceeds_it(make: Callable[[float], Solver]) -> None:
    eigenvalues = spread(0.01, 30)
    eigenvalues[0] = -0.02
    curvature = with_eigenvalues(eigenvalues)
    assert_no_numbers(make(0.019).at(curvature)(random_vector(30)), Status.SINGULAR)
    assert make(0.021).at(curvature)(random_vector(30)).status is Status.CONVERGED


def test_cg_takes_as_many_iterations_as_there_are_distinct_eigenvalues() -> None:
    curvature = with_eigenvalues(torch.tensor([1.0, 2.0, 5.0, 7.0], dtype=torch.float64).repeat(10))
    solution = CG(tolerance=1e-12).at(curvature)(random_vector(40))
    assert [step for step, _ in solution.trace] == [1, 2, 3, 4]
    assert solution.trace[2][1] > 1e-3
    # One product for each iteration, one for the true residual before stopping. As much at most before that
    # for the random right-hand side, and one each for the size of H and for the vector of ones.
    assert 5 + 2 + 2 <= solution.num_hvps <= 5 + 5 + 2


def test_cg_at_its_iteration_limit_gives_the_residual_but_no_numbers() -> None:
    curvature, v = with_eigenvalues(spread(1e-4, 60)), random_vector(60)
    long_run = CG(tolerance=1e-10).at(curvature)(v)
    solution = CG(tolerance=1e-10, max_iterations=20).at(curvature)(v)
    assert_no_numbers(solution, Status.NOT_CONVERGED)
    assert "influence.max_iterations=200" in solution.message
    assert len(solution.trace) == 20
    assert solution.relative_residual == pytest.approx(long_run.trace[19][1], rel=1e-6)


def test_cg_meets_a_tight_tolerance_on_an_ill_conditioned_matrix() -> None:
    curvature, x = with_eigenvalues(spread(1e-6, 60)), random_vector(60)
    v = curvature.matrix() @ x
    solution = CG(tolerance=1e-12, max_iterations=2000).at(curvature)(v)
    assert solution.status is Status.CONVERGED
    # Not only by recurrence; a second evaluation of the residual may differ by rounding, about 1e-15.
    assert (v - curvature.matrix() @ solution.value).norm() < 1.01e-12 * v.norm()


def test_cg_does_not_believe_a_recurrence_that_has_drifted() -> None:
    curvature, v = with_eigenvalues(spread(1e-6, 60)), random_vector(60)
    s, recurred = textbook_cg(curvature, v, num_iterations=2000)
    # The premise: with ‖s‖ near 1e5‖v‖ the true residual stays above 1e-16 · 1e5, the recurrence does not.
    assert recurred.norm() < 1e-12 * v.norm()
    assert (v - curvature.matrix() @ s).norm() > 1e-11 * v.norm()
    solution = CG(tolerance=1e-12, max_iterations=5000).at(curvature)(v)
    assert_no_numbers(solution, Status.NOT_CONVERGED)
    assert "rounding" in solution.message
    assert solution.relative_residual is not None
    assert solution.relative_residual > 1e-12


@dataclass(frozen=True)
class DisturbedCurvature(DenseCurvature):
    """Every product takes one of the errors with it, as long as there are any."""

    errors: list[Tensor] = field(default_factory=list)

    def product(self, v: Tensor) -> Tensor:
        return super().product(v) + (self.errors.pop() if self.errors else 0)


def test_cg_restarts_from_the_truth_after_drift() -> None:
    # Errors of 1e-3 in the first products stand for the drift that rounding causes in many more.
    x, curvature = random_vector(40), DisturbedCurvature(with_eigenvalues(spread(1e-2, 40)).examples)
    v = curvature.matrix() @ x
    solve = CG(tolerance=1e-12).at(curvature)
    undisturbed = solve(v)
    curvature.errors.extend(1e-3 * random_vector(40, seed)[None] for seed in range(5))
    solution = solve(v)
    assert solution.status is Status.CONVERGED
    torch.testing.assert_close(solution.value, x, rtol=0, atol=1e-10)
    # One run down to the drift, and one from there.
    assert len(solution.trace) < 2.2 * len(undisturbed.trace)


def textbook_cg(curvature: DenseCurvature, v: Tensor, num_iterations: int) -> tuple[Tensor, Tensor]:
    matrix = curvature.matrix()
    s, r, p = torch.zeros_like(v), v, v
    for _ in range(num_iterations):
        image = matrix @ p
        length = r.dot(r) / p.dot(image)
        s, new = s + length * p, r - length * image
        p, r = new + new.dot(new) / r.dot(r) * p, new
        if r.norm() < 1e-13 * v.norm():
            break
    return s, r


def test_cg_works_in_single_precision_within_its_means() -> None:
    double, v = softmax_curvature(l2=0.01), random_vector(60)
    single = SoftmaxCurvature(double.x.float(), double.probabilities.float(), double.l2)
    exact = Exact().at(double)(v).value
    solution = CG(tolerance=1e-4).at(single)(v.float())
    assert solution.status is Status.CONVERGED
    # ‖s − H⁻¹v‖ ≤ ‖residual‖/λ_min.
    assert (solution.value.double() - exact).norm() < 1.1e-4 * v.norm() / 0.01
    beyond = CG(tolerance=1e-9).at(single)(v.float())
    assert_no_numbers(beyond, Status.NOT_CONVERGED)
    assert "float32" in beyond.message


def test_grad_dot_is_the_right_hand_side_itself() -> None:
    v = random_vector(5)
    solution = GradDot().at(with_eigenvalues(spread(0.1, 5)))(v)
    assert solution.status is Status.FINISHED
    torch.testing.assert_close(solution.value, v, rtol=0, atol=0)


ALL = [Exact(), CG(), LiSSA(depth=10), GradDot()]


@pytest.mark.parametrize("solver", ALL, ids=lambda solver: type(solver).__name__)
def test_zero_right_hand_side_has_the_solution_zero(solver: Solver) -> None:
    v = torch.zeros(6, dtype=torch.float64)
    solution = solver.at(with_eigenvalues(spread(0.1, 6)))(v)
    assert not solution.status.failed
    assert not solution.value.any()
    assert solution.relative_residual in (0.0, None)


@pytest.mark.parametrize("solver", ALL, ids=lambda solver: type(solver).__name__)
def test_right_hand_side_that_is_not_finite_is_refused(solver: Solver) -> None:
    v = torch.tensor([1.0, float("nan")], dtype=torch.float64)
    with pytest.raises(ValueError, match="v holds NaN or infinity"):
        solver.at(with_eigenvalues(spread(0.1, 2)))(v)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exact(damping=-1.0), "influence.damping=-1.0: expected greater than or equal to 0"),
        (lambda: CG(damping=float("nan")), "influence.damping=nan: expected a finite number"),
        (lambda: CG(tolerance=0.0), "influence.tolerance=0.0: expected greater than 0"),
        (lambda: CG(tolerance=1.0), "influence.tolerance=1.0: expected less than 1"),
        (lambda: CG(max_iterations=0), "influence.max_iterations=0: expected greater than or equal to 1"),
        (lambda: LiSSA(scale=0.0), "influence.scale=0.0: expected greater than 0"),
        (lambda: LiSSA(damping=float("inf")), "influence.damping=inf: expected a finite number"),
        (lambda: LiSSA(depth=0), "influence.depth=0: expected greater than or equal to 1"),
        (lambda: LiSSA(batch_size=0), "influence.batch_size=0: expected greater than or equal to 1"),
        (lambda: LiSSA(repeats=0), "influence.repeats=0: expected greater than or equal to 1"),
        (lambda: LiSSA(seed=-1), "influence.seed=-1: expected greater than or equal to 0"),
    ],
)
def test_impossible_setting_is_named_with_what_is_allowed(make: Callable[[], Solver], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("solver", [Exact(), CG()])
@pytest.mark.parametrize("convex", [False, True])
def test_where_the_model_may_be_at_a_saddle_the_remedy_is_a_minimum(solver: Exact | CG, convex: bool) -> None:
    curvature = replace(with_eigenvalues(torch.tensor([-0.5, 0.4, 1.0], dtype=torch.float64)), convex=convex)
    found = solver.at(curvature)(random_vector(3))
    assert found.status is Status.SINGULAR
    assert ("train to a minimum (`fit=local retrain=default`), or add L2" in found.message) is not convex
