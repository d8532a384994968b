"""Newton–Kantorovich: its constants are sharp, and what is measured for it is what it should be."""

import math
from itertools import permutations

import pytest
import torch

from retrain.hessian_factor import NoMinimumError, hessian_factor
from retrain.local_certificate import local_certificate, loss_bound
from retrain.local_curvature import fastest_change, spectrum_ends
from retrain.local_problem import LocalProblem, Surroundings, local_problem, surroundings
from retrain.removal import Removal, leave_one_out
from retrain.removed_risks import SingleRisks
from retrain.together_risks import TogetherRisks
from tests.networks import network_at_minimum, newton, random_network

GENERATOR = torch.Generator()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR.manual_seed(seed))


def measured(
    problem: LocalProblem, removals: tuple[Removal, ...], differences: torch.Tensor, shares: torch.Tensor
) -> Surroundings:
    gradients = problem.risks.derivatives(1, problem.thetas(differences), removals)
    return surroundings(problem, removals, differences, shares, gradients)


@pytest.mark.parametrize("h", [0.01, 0.2, 0.45, 0.499])
def test_the_radii_are_the_zeros_of_the_function_that_is_worst(h: float) -> None:
    """F'(x) = x/β − Mx²/2 − η/β at 0 has the Lipschitz constant M everywhere: no better bound can be true."""
    beta, lipschitz = 1.7, 3.0
    eta = h / (beta * lipschitz)
    found = local_certificate(torch.tensor([eta / beta]), torch.tensor([1 / beta]), torch.tensor([lipschitz]))
    nearest, other = sorted(abs(x) for x in roots(-lipschitz / 2, 1 / beta, -eta / beta))
    assert bool(found.holds)
    assert float(found.radii) == pytest.approx(nearest, rel=1e-5)
    assert float(found.alone_within) == pytest.approx(other, rel=1e-5)
    assert nearest <= float(found.distances) == pytest.approx(2 * eta, rel=1e-6)
    assert float(found.margins) == pytest.approx(0.5 / h, rel=1e-6)


def roots(a: float, b: float, c: float) -> tuple[float, float]:
    root = math.sqrt(b * b - 4 * a * c)
    return (-b + root) / (2 * a), (-b - root) / (2 * a)


def test_where_that_function_has_no_zero_nothing_is_certified() -> None:
    beta, lipschitz = 1.7, 3.0
    eta = 0.501 / (beta * lipschitz)
    assert (1 / beta) ** 2 - 2 * lipschitz * eta / beta < 0
    found = local_certificate(
        torch.tensor([eta / beta, 1.0]), torch.tensor([1 / beta, -0.1]), torch.tensor([lipschitz, 1.0])
    )
    assert not found.holds.any()
    assert torch.isinf(found.distances).all()
    assert not found.alone_within.any()
    assert (found.margins < 1).all()


def test_the_bound_on_a_loss_is_taylors() -> None:
    """ℓ(θ) = 2θ + 3θ²/2 at 0, within 0.1: 0.2 + 0.015."""
    bound = loss_bound(torch.tensor([[2.0]]), torch.tensor([3.0]), torch.tensor([0.1]))
    assert float(bound) == pytest.approx(0.215)


def test_lanczos_finds_the_ends_of_spectra_that_lie_together_but_for_few() -> None:
    for seed in range(5):
        values = 1 + 0.02 * random(80, seed=seed)
        values[:2] = torch.tensor([0.2 + 0.1 * seed, 1.9])
        basis = torch.linalg.qr(random(80, 80, seed=seed + 50))[0]
        matrix = basis @ torch.diag(values) @ basis.T
        ends = spectrum_ends(lambda v, matrix=matrix: v @ matrix, random(1, 80))  # type: ignore[misc]
        assert float(ends.lowest) <= float(values.min()) * (1 + 1e-9)
        assert float(ends.lowest) == pytest.approx(float(values.min()), rel=0.06)
        assert float(ends.highest) == pytest.approx(1.9, rel=0.1)


def test_the_climb_finds_the_largest_of_many_directions() -> None:
    """A random symmetric tensor of 5 parameters: 200,000 random directions find nothing larger."""
    tensor = torch.stack([random(5, 5, 5).permute(*order) for order in permutations(range(3))]).sum(0)
    found = fastest_change(lambda v: torch.einsum("ijk,bj,bk->bi", tensor, v, v), random(8, 5, seed=1), 30)
    v = torch.nn.functional.normalize(random(200_000, 5, seed=2), dim=1)
    sampled = torch.einsum("ijk,bi,bj,bk->b", tensor, v, v, v).abs().max()
    assert float(found.lipschitz.max()) >= float(sampled)


@pytest.mark.parametrize("kind", [SingleRisks, TogetherRisks])
def test_derivatives_are_of_the_order_and_the_models_that_are_asked_for(
    kind: type[SingleRisks] | type[TogetherRisks],
) -> None:
    risk, theta = network_at_minimum()
    risks, thetas, removals = kind(risk), theta.expand(2, -1), ((), (3,))
    for order, along, models in (
        (1, thetas, removals),
        (2, None, removals),
        (4, thetas, removals),
        (1, None, ((),)),
    ):
        with pytest.raises(ValueError, match=f"order {order}"):
            risks.derivatives(order, thetas, models, along)
    with pytest.raises(ValueError, match="order 3"):
        risks.removed_sums(3, thetas, removals, thetas)


def test_models_together_are_models_one_by_one() -> None:
    """Of every derivative; the third in float32, by a second derivative instead of a difference."""
    risk, theta = network_at_minimum()
    removals = ((), (3,), (5, 7, 11), (149,))
    thetas = theta + 0.1 * random(4, len(theta))
    v = random(4, len(theta), seed=1)
    together, alone = TogetherRisks(risk), SingleRisks(risk)
    for order, along, error in ((1, None, 1e-13), (2, v, 1e-12), (3, v, 1e-3)):
        one, other = (risks.derivatives(order, thetas, removals, along) for risks in (together, alone))
        for part in ("full", "without"):
            difference = (getattr(one, part) - getattr(other, part)).norm()
            assert float(difference / getattr(other, part).norm()) < error, (order, part)
    first, second = (risks.removed_sums(2, thetas, removals, v) for risks in (together, alone))
    assert not first[0].any()
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)


def test_what_is_measured_is_what_the_whole_hessian_says() -> None:
    """Smallest eigenvalue, and by how much it can fall when rows gain or lose weight."""
    risk, theta = network_at_minimum()
    problem = local_problem(risk, theta)
    removals = tuple(leave_one_out([0, 17, 80]))
    differences = 0.02 * random(3, len(theta))
    found = measured(problem, removals, differences, torch.ones(3, dtype=torch.float64))
    for place, rows in enumerate(removals):
        kept = torch.tensor([row for row in range(risk.num_examples) if row not in rows])
        for share, slack in ((1.0, 0.06), (0.25, 0.3)):
            at = problem.theta + differences[place]
            hessian = torch.lerp(risk.curvature(at).matrix(), risk.subset(kept).curvature(at).matrix(), share)
            lower = problem.factor.lower
            half = torch.linalg.solve_triangular(lower, hessian, upper=False)
            white = torch.linalg.solve_triangular(lower, half.T, upper=False)
            smallest = float(torch.linalg.eigvalsh(white)[0])
            said = found.certificates(torch.full((3,), share, dtype=torch.float64)).curvatures[place]
            assert float(said) <= smallest + 1e-9
            assert float(said) >= smallest - slack


def test_at_the_fit_only_removed_rows_are_asked() -> None:
    risk, theta = network_at_minimum()
    problem, removals = local_problem(risk, theta), ((), (3,), (5, 7, 11))
    quick = problem.gradients_of_fit(removals)
    whole = problem.risks.derivatives(1, theta.expand(3, -1), removals)
    torch.testing.assert_close(quick.without, whole.without, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(quick.full, whole.full, rtol=0, atol=1e-15)


def test_a_saddle_is_no_minimum_to_retrain_from() -> None:
    risk, theta = network_at_minimum()
    with pytest.raises(NoMinimumError, match="not positive definite"):
        hessian_factor(risk.curvature(torch.zeros_like(theta)))


def search(seeds: range) -> tuple[int, int]:
    """Points around minima of random networks: how many are certified, and how many of them wrongly."""
    certified = wrong = 0
    for seed in seeds:
        risk, theta = random_network(seed)
        try:
            problem = local_problem(risk, theta)
        except NoMinimumError:
            continue
        scales = torch.logspace(-4, 0, 9, dtype=torch.float64)[:, None]
        away = problem.factor.in_theta(
            scales * torch.nn.functional.normalize(random(9, len(theta), seed=seed), dim=1)
        )
        none = ((),) * 9
        found = measured(problem, none, away, torch.zeros(9, dtype=torch.float64))
        certificate = found.certificates(found.shares)
        for place in torch.nonzero(certificate.holds).flatten().tolist():
            certified += 1
            nearest = newton(risk, problem.theta + away[place], 12)
            distance = problem.factor.lengths((nearest - problem.theta - away[place])[None])
            vanishes = float(risk.gradient(nearest).norm()) < 1e-10
            within = float(distance) <= float(certificate.distances[place]) * (1 + 1e-6)
            wrong += not (vanishes and within)
    return certified, wrong


def test_no_certificate_of_a_random_network_is_wrong() -> None:
    """M is measured at the point alone, so a counterexample is possible; in these there is none."""
    certified, wrong = search(range(2))
    assert certified >= 6
    assert wrong == 0


@pytest.mark.slow
def test_no_certificate_of_many_random_networks_is_wrong() -> None:
    certified, wrong = search(range(150))
    assert certified > 400
    assert wrong == 0
