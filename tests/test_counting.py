"""Every solver counts all the products that it takes, whether it ends well or not."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from influence.cg import CG
from influence.exact import Exact
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.solution import Solver
from tests.dense_curvature import DenseCurvature, random_vector, spread


@dataclass(frozen=True)
class Watched(DenseCurvature):
    """Notes the examples that every product goes over."""

    examples_seen: list[int] = field(default_factory=list)

    def product(self, v: Tensor) -> Tensor:
        self.examples_seen.append(len(v) * self.num_examples)
        return super().product(v)

    def batch_product(self, indices: Tensor, v: Tensor) -> Tensor:
        self.examples_seen.append(indices.numel())
        return super().batch_product(indices, v)


def watched(smallest: float = 0.1) -> Watched:
    """Seven examples that curve differently, so that LiSSA has noise."""
    factors = torch.linspace(0.5, 1.5, 7, dtype=torch.float64)
    return Watched(factors[:, None, None] * torch.diag(spread(smallest, 12)))


@pytest.mark.parametrize(
    ("solver", "status"),
    [
        (CG(), "converged"),
        (CG(damping=0.1, preconditioner="none"), "converged"),
        (CG(max_iterations=2), "not_converged"),
        (Exact(), "converged"),
        (LiSSA(scale=2.0, depth=120), "finished"),
        (LiSSA(scale=0.1), "refused"),
        (LiSSA(scale=0.1, allow_divergence=True), "diverged"),
        (LiSSAAuto(), "finished"),
        (LiSSAAuto(target=1e-15), "not_converged"),
    ],
    ids=str,
)
def test_no_product_is_left_out(solver: Solver, status: str) -> None:
    curvature = watched()
    solve = solver.at(curvature)
    for seed in range(3):
        before = sum(curvature.examples_seen) if seed else 0
        found = solve(random_vector(12, seed))
        assert found.status == status
        assert found.num_hvps == pytest.approx((sum(curvature.examples_seen) - before) / 7, rel=1e-12)


def test_a_singular_matrix_is_found_by_products_that_count() -> None:
    curvature = Watched(torch.diag(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64))[None])
    found = CG().at(curvature)(random_vector(3))
    assert found.status == "singular"
    assert found.num_hvps == sum(curvature.examples_seen) > 2
