"""The curvature is the Hessian of the formula: products, batch products, and the explicit matrix."""

import pytest
import torch
from torch import Tensor

import erm.autograd
import erm.softmax_hessian
from erm.pass_order import CHUNK_ROWS
from erm.softmax import SoftmaxCurvature
from erm.softmax_hessian import cross_entropy_hessian_sum
from tests.random_risks import (
    HVP_CASES,
    NUM_EXAMPLES,
    Case,
    assert_close,
    closed_form,
    mlp,
    mlp_problem,
    normal,
    softmax_problem,
    through_autograd,
)

every_risk = pytest.mark.parametrize("case", HVP_CASES, ids=lambda case: case.name)


def _hessians(case: Case, theta: Tensor) -> Tensor:
    """Of the formula's L for every training example, L2 inside: n × p × p."""
    hessians: Tensor = torch.func.hessian(case.problem.losses)(theta)
    return hessians


@every_risk
def test_product_is_the_hessian_of_the_formula_times_each_vector(case: Case) -> None:
    theta, v = case.problem.parameters(), case.problem.vectors(3)
    assert_close(case.risk.curvature(theta).product(v), v @ _hessians(case, theta).mean(0))


@every_risk
def test_matrix_is_the_hessian_of_the_formula(case: Case) -> None:
    theta = case.problem.parameters()
    matrix = case.risk.curvature(theta).matrix()
    assert_close(matrix, _hessians(case, theta).mean(0))
    assert matrix.equal(matrix.T)


@every_risk
def test_batch_product_is_the_mean_over_each_vectors_own_batch(case: Case) -> None:
    """Batches of 6 of the 11 examples, in chunks of 4 and 2; the second holds one example three times."""
    indices = torch.tensor([[0, 3, 5, 7, 9, 10], [4, 4, 1, 8, 4, 2], [10, 9, 8, 7, 6, 5]])
    theta, v = case.problem.parameters(), case.problem.vectors(3)
    expected = torch.einsum("rpq,rq->rp", _hessians(case, theta)[indices].mean(1), v)
    assert_close(case.risk.curvature(theta).batch_product(indices, v), expected)


@every_risk
def test_a_batch_of_one_is_the_hessian_of_that_example(case: Case) -> None:
    theta, v = case.problem.parameters(), case.problem.vectors(1)
    product = case.risk.curvature(theta).batch_product(torch.tensor([[6]]), v)
    assert_close(product, v @ _hessians(case, theta)[6])


@every_risk
def test_a_batch_of_all_examples_is_the_product(case: Case) -> None:
    theta, v = case.problem.parameters(), case.problem.vectors(2)
    curvature = case.risk.curvature(theta)
    generator = torch.Generator().manual_seed(7)
    indices = torch.stack([torch.randperm(NUM_EXAMPLES, generator=generator) for _ in v])
    assert_close(curvature.batch_product(indices, v), curvature.product(v))


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_softmax_hessian_is_positive_semi_definite_at_every_parameter(num_classes: int, scale: float) -> None:
    """Without L2, at probabilities from uniform to saturated: nothing that is negative is above rounding."""
    problem = softmax_problem(num_classes=num_classes, l2=0.0, bias=True)
    matrix = closed_form(problem).curvature(problem.parameters(scale)).matrix()
    eigenvalues = torch.linalg.eigvalsh(matrix)
    # eigvalsh is backward stable: its eigenvalues are off by at most about p·ε·λ_max.
    rounding = len(matrix) * torch.finfo(matrix.dtype).eps * eigenvalues[-1]
    assert eigenvalues[0] >= -rounding
    # A number added to one feature of all classes changes nothing: at least d eigenvalues are 0.
    assert (eigenvalues[: problem.num_parameters // num_classes].abs() <= rounding).all()


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_class_blocks_of_the_cross_entropy_part_sum_to_zero(num_classes: int) -> None:
    problem = softmax_problem(num_classes=num_classes, l2=0.3, bias=True)
    matrix = closed_form(problem).curvature(problem.parameters()).matrix()
    cross_entropy_part = matrix - 0.3 * torch.eye(len(matrix), dtype=matrix.dtype)
    blocks = cross_entropy_part.view(num_classes, 4, num_classes, 4)
    # The sum of K blocks rounds K times.
    assert blocks.sum(2).abs().max() <= 1e-14 * blocks.abs().max()


def _examples(num_examples: int, num_features: int) -> tuple[Tensor, Tensor]:
    probabilities = torch.softmax(2 * normal(num_examples, 3, seed=8), dim=1)
    return normal(num_examples, num_features, seed=9), probabilities


def test_hessian_sums_of_disjoint_rows_add_up() -> None:
    x, probabilities = _examples(11, 5)
    halves = [
        cross_entropy_hessian_sum(x[rows], probabilities[rows]) for rows in (slice(0, 4), slice(4, None))
    ]
    assert_close(halves[0] + halves[1], cross_entropy_hessian_sum(x, probabilities))


@pytest.mark.parametrize(
    ("chunk_rows", "panel_columns"),
    [(4, 128), (2048, 2), (4, 2), (1, 1)],
    ids=["ragged chunks of rows", "ragged panels of columns", "both", "one by one"],
)
def test_hessian_in_chunks_and_panels_is_the_sum_over_examples(
    chunk_rows: int, panel_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """11 rows and 5 columns, against Σᵢ (diag(pᵢ) − pᵢpᵢᵀ) ⊗ xᵢxᵢᵀ written out."""
    monkeypatch.setattr(erm.softmax_hessian, "CHUNK_ROWS", chunk_rows)
    monkeypatch.setattr(erm.softmax_hessian, "PANEL_COLUMNS", panel_columns)
    x, probabilities = _examples(11, 5)
    covariances = torch.diag_embed(probabilities) - torch.einsum("nk,nl->nkl", probabilities, probabilities)
    expected = torch.einsum("nkl,nd,ne->kdle", covariances, x, x)
    assert_close(cross_entropy_hessian_sum(x, probabilities), expected)


def test_hessian_is_exact_beyond_the_chunk_and_panel_of_every_day() -> None:
    """One row and one column more than fit: the matrix against the product, whose arithmetic is another."""
    num_rows, num_columns = CHUNK_ROWS + 1, erm.softmax_hessian.PANEL_COLUMNS + 1
    curvature = SoftmaxCurvature(*_examples(num_rows, num_columns), l2=0.3)
    v = normal(2, curvature.num_parameters, seed=10)
    assert_close(v @ curvature.matrix(), curvature.product(v))


@pytest.mark.parametrize("kept", [0.9, 0.99, 0.9999])
def test_an_approximation_lies_between_its_share_and_the_whole(kept: float) -> None:
    """0 ⪯ Ĥ ⪯ H as matrices, and of every block's trace no less than the share is there."""
    x, probabilities = _examples(400, 5)
    whole = cross_entropy_hessian_sum(x, probabilities)
    part = cross_entropy_hessian_sum(x, probabilities, kept=kept)
    rounding = 1e-12 * float(whole.norm())
    assert float(torch.linalg.eigvalsh(part.reshape(15, 15)).min()) >= -rounding
    assert float(torch.linalg.eigvalsh((whole - part).reshape(15, 15)).min()) >= -rounding
    traces = torch.einsum("kdld->kl", part) / torch.einsum("kdld->kl", whole)
    assert (traces >= kept - 1e-12).all()
    assert (traces < 1).all()


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_autograd_matrix_does_not_depend_on_its_chunks(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """31 parameters in blocks of 7 rows, 11 examples in chunks."""
    monkeypatch.setattr(erm.autograd, "VECTORS_TOGETHER", 7)
    problem = mlp_problem()
    risk = through_autograd(problem, mlp(), "forward_over_reverse", batch_size)
    expected: Tensor = torch.func.hessian(problem.value)(problem.parameters())
    assert_close(risk.curvature(problem.parameters()).matrix(), expected)


def test_the_two_forms_of_hessian_vector_product_agree_on_a_network() -> None:
    problem = mlp_problem()
    theta, v = problem.parameters(), problem.vectors(4)
    forward = through_autograd(problem, mlp(), "forward_over_reverse").curvature(theta)
    backward = through_autograd(problem, mlp(), "double_backward").curvature(theta)
    assert_close(forward.product(v), backward.product(v))
    assert_close(forward.matrix(), backward.matrix())
    # The network's Hessian is indefinite here, so that nothing above leans on convexity.
    assert torch.linalg.eigvalsh(forward.matrix())[0] < 0
