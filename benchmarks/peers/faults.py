"""Faults seen in other packages, each with the figure before and after: `python -m benchmarks.peers.faults`.

All are about the small model of `benchmarks.peers.files`, where the exact solution is a dense solve. "After"
is the package's own result with the one line changed that docs/peers.md names.
"""

import copy
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.arguments import read_arguments
from benchmarks.peers.files import NUM_TRAIN, gradient_products, small_problem
from benchmarks.peers.problem import PeerProblem
from erm.softmax import SoftmaxRisk

Row = tuple[str, str, float, float]
"""What was measured where, and the figure before and after."""


def _risk(problem: PeerProblem) -> tuple[SoftmaxRisk, Tensor]:
    risk = SoftmaxRisk(x=problem.x, y=problem.y, num_classes=problem.model.out_features, l2=problem.l2)
    return risk, problem.model.weight.detach().flatten()


def exact(problem: PeerProblem) -> Float[Tensor, "t n"]:
    """s_testᵀ∇ℓ(zᵢ) with s_test = H⁻¹∇ℓ(z_test), cross-entropy alone in both gradients."""
    risk, theta = _risk(problem)
    at_test = risk.loss_gradient(theta, problem.x_test, problem.y_test)
    s_test = torch.linalg.solve(risk.curvature(theta).matrix(), at_test.T).T
    scores: Tensor = s_test @ risk.loss_gradient(theta, problem.x, problem.y).T
    return scores


def mean_r(found: Tensor, wanted: Tensor) -> float:
    """Pearson's r, the mean over the test points."""
    pairs = zip(found.detach().double().numpy(), wanted.numpy(), strict=True)
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))


def _wrapped(problem: PeerProblem) -> nn.Sequential:
    return nn.Sequential(copy.deepcopy(problem.model))


def dattri_ekfac(problem: PeerProblem) -> list[Row]:
    """Eigenvectors stand in columns, and are applied as if they stood in rows."""
    from dattri.algorithm.influence_function import IFAttributorEKFAC
    from dattri.func import fisher
    from dattri.task import AttributionTask

    model = _wrapped(problem)

    def loss(parameters: Any, data: Any) -> Tensor:
        x, y = data
        logits = torch.func.functional_call(model, parameters, (x if x.dim() > 1 else x[None],))
        return cross_entropy(logits, y.long().reshape(-1))

    found, as_it_is = [], fisher.estimate_eigenvector

    def in_rows(covariances: Any) -> Any:
        return {name: (a.T, s.T) for name, (a, s) in as_it_is(covariances).items()}

    for eigenvectors in (as_it_is, in_rows):
        fisher.estimate_eigenvector = eigenvectors
        task = AttributionTask(
            loss_func=loss, target_func=loss, model=model, checkpoints=[model.state_dict()]
        )
        attributor = IFAttributorEKFAC(task, damping=problem.l2)
        attributor.cache(problem.batches(NUM_TRAIN))
        with torch.no_grad():
            scores = attributor.attribute(problem.batches(NUM_TRAIN), problem.test_batch())
        found.append(mean_r(scores.T, exact(problem)))
    fisher.estimate_eigenvector = as_it_is
    return [("dattri", "EK-FAC, r", found[0], found[1])]


def dattri_cg(problem: PeerProblem) -> list[Row]:
    """The solution of each batch's own Hessian is added to those of the others."""
    from dattri.algorithm.influence_function import IFAttributorCG
    from dattri.task import AttributionTask

    wanted, rows = exact(problem), {}
    for size in (10, 50, NUM_TRAIN):
        task = AttributionTask(
            loss_func=lambda parameters, data: problem.loss(parameters, *data),
            target_func=lambda parameters, data: problem.test_loss(parameters, *data),
            model=problem.model,
            checkpoints=[problem.model.state_dict()],
        )
        attributor = IFAttributorCG(task, max_iter=60)
        attributor.cache(problem.batches(size))
        with torch.no_grad():
            scores = attributor.attribute(problem.batches(NUM_TRAIN), problem.test_batch()).T
        slope = float(np.mean([np.polyfit(w, f, 1)[0] for w, f in zip(wanted, scores, strict=True)]))
        rows[size] = (mean_r(scores, wanted), slope)
    whole = rows.pop(NUM_TRAIN)
    return [
        ("dattri", f"CG, batches of {size} of {NUM_TRAIN}, {name}", found[place], whole[place])
        for size, found in rows.items()
        for place, name in enumerate(("r", "times too large"))
    ]


def pydvl_cg(problem: PeerProblem) -> list[Row]:
    """The tolerance of the i-th right-hand side is that of the i-th coordinate of all of them."""
    from pydvl.influence.torch import CgInfluence

    risk, theta = _risk(problem)
    at_test = risk.loss_gradient(theta, problem.x_test, problem.y_test)
    # Coordinate 0 belongs to a pixel that is always 0. That of the second side is what the first one gets.
    loud = at_test[1].clone()
    loud[0] = 1e6
    sides = torch.stack([at_test[0], loud])
    wanted = torch.linalg.solve(risk.curvature(theta).matrix(), at_test[0])
    found = []
    for rows in (sides, sides[:1]):
        fitted = CgInfluence(problem.model, cross_entropy, regularization=problem.l2, rtol=1e-3).fit(
            problem.batches(NUM_TRAIN)
        )
        solved = _operator(fitted).apply(rows)[0]
        found.append(float((solved - wanted).norm() / wanted.norm()))
    return [("pyDVL", "CG rtol=1e-3, error of s_test beside a loud one, and alone", found[0], found[1])]


def _operator(fitted: Any) -> Any:
    (block,) = fitted.block_mapper.composable_block_dict.values()
    return block.op


def pydvl_ekfac(problem: PeerProblem) -> list[Row]:
    """The last rows of a layer's gradient are taken for its bias, though the layer has none."""
    from pydvl.influence.torch import EkfacInfluence

    # It computes in float32 alone.
    x, x_test = problem.x.float(), problem.x_test.float()
    loader = DataLoader(TensorDataset(x, problem.y), batch_size=NUM_TRAIN)
    fitted = EkfacInfluence(
        _wrapped(problem).float(), update_diagonal=True, hessian_regularization=problem.l2
    ).fit(loader)
    before = fitted.influences(x_test, problem.y_test, x, problem.y)
    risk, theta = _risk(problem)
    ((_, *factors),) = (entry for _, entry in fitted.ekfac_representation)
    evecs_a, evecs_g, diagonal = (part.double() for part in factors)
    gradients = risk.loss_gradient(theta, problem.x_test, problem.y_test).reshape(
        len(problem.x_test), *problem.model.weight.shape
    )
    turned = evecs_g.T @ gradients @ evecs_a
    solved = evecs_g @ (turned / (diagonal.reshape(turned.shape[1:]) + problem.l2)) @ evecs_a.T
    after = solved.flatten(1) @ risk.loss_gradient(theta, problem.x, problem.y).T
    wanted = exact(problem)
    return [("pyDVL", "EK-FAC of a layer without a bias, r", mean_r(before, wanted), mean_r(after, wanted))]


def forgetful_recursion(problem: PeerProblem) -> list[Row]:
    """Every step of LiSSA starts from v again, so that the result is nearly v at any depth."""
    from pytorch_influence_functions.influence_function import s_test

    risk, theta = _risk(problem)
    at_train = risk.loss_gradient(theta, problem.x, problem.y)
    loader = DataLoader(TensorDataset(problem.x, problem.y), batch_size=NUM_TRAIN)
    v = risk.loss_gradient(theta, problem.x_test, problem.y_test)
    found = []
    for place in range(len(v)):
        pair = problem.x_test[place][None], problem.y_test[place][None]
        (vector,) = s_test(
            *pair, problem.model, loader, damp=problem.l2 / 25, scale=25.0, recursion_depth=300
        )
        found.append(vector.detach().flatten())
    # The same recursion of the same cross-entropy Hessian, each step from the one before.
    hessian = risk.curvature(theta).matrix() - problem.l2 * torch.eye(len(theta), dtype=theta.dtype)
    mended = v.clone()
    for _ in range(300):
        mended = v + (1 - problem.l2 / 25) * mended - mended @ hessian / 25
    before, after = torch.stack(found) @ at_train.T, mended @ at_train.T
    name, wanted, products = "pytorch-influence-functions", exact(problem), gradient_products(problem)
    return [
        (name, "LiSSA, 300 steps, r", mean_r(before, wanted), mean_r(after, wanted)),
        (name, "its r with gradient products", mean_r(before, products), mean_r(after, products)),
    ]


FAULTS: tuple[Callable[[PeerProblem], list[Row]], ...] = (
    dattri_ekfac,
    dattri_cg,
    pydvl_cg,
    pydvl_ekfac,
    forgetful_recursion,
)


def main() -> None:
    """Print a row for each figure."""
    read_arguments(__doc__, sys.argv[1:])
    table, console = Table("package", "what", "before", "after"), Console(soft_wrap=True)
    for measure in FAULTS:
        try:
            rows = measure(small_problem())
        except ImportError as error:
            console.print(f"left out: {measure.__name__} ({error})")
            continue
        for package, what, before, after in rows:
            version = importlib.metadata.version(package)
            table.add_row(f"{package} {version}", what, f"{before:.4g}", f"{after:.4g}")
    console.print(table)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
