"""The paper's CNN where it came to rest: `python -m benchmarks.paper_cnn_minimum FOLDER`.

FOLDER is that of `python -m benchmarks.paper_cnn`. Is it a minimum, and what do influence functions predict
there? One number added to the last biases changes nothing, so H is singular along it; all else is asked of
the complement, where every gradient lies. Lanczos looks for the ends of H in the variables of a Gauss-Newton
factor, where signs are those of H. Its basis completes the factor, and in those variables L-BFGS follows
models without one training point from θ̂: points drawn as `removals=random` draws them, or those of largest
predicted change. Resumable: writes curvature.pt, minimum.pt, predicted.pt and removals.csv, and draws
cnn_minimum.png.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from rich.console import Console
from scipy.optimize import minimize
from torch import Tensor

from benchmarks.gauss_newton import factor_of_gauss_newton
from benchmarks.paper_cnn import paper_risk
from erm.autograd import AutogradRisk
from erm.files import write_atomically
from erm.trust_region import Scale
from plots.agreement import CONTINUED, agreement
from plots.leave_one_out import draw_leave_one_out
from plots.style import save
from repro.configuration.compose import compose
from repro.problem import load_dataset
from retrain.removal_kinds import random_points
from retrain.removed_risks import without_rows

BASIS = 400
"""Products with H that Lanczos may take; in float32, as they only precondition and tell signs."""
SOLVED, NEWTON_SOLVED, INVERSE_SOLVED, MOST = 1e-6, 1e-4, 1e-2, 100
"""Relative residuals of s_test, a Newton step and inverse iteration, and the products that each may take."""
REMOVED_TOLERANCE, MOST_STEPS = 5e-8, 60
"""Gradient norm at which a model without a point has come to rest, and the iterations that it may take."""
BANDS = (0.0, 0.003, 0.01, 0.02, 0.05)
"""Between which predicted changes are, in absolute value, that the table of actual ones has a row for."""
TOLERANCE, NEWTON_STEPS = 1e-10, 3
"""‖∇R(θ̂)‖, and the Newton steps that it may take from where L-BFGS ended."""


@dataclass(frozen=True)
class Curvature:
    """H at θ̂: near L(I + Q(T − I)Qᵀ)Lᵀ, with Q and T of Lanczos in the variables of the factor L."""

    scale: Scale
    basis: Float[Tensor, "m p"]
    values: Float[Tensor, " m"]
    """Ritz values, ascending, `basis` being their vectors."""
    residuals: Float[Tensor, " m"]

    def root(self, w: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """S w, where S Sᵀ is near H⁻¹."""
        return self.scale.back(self._scaled(w))

    def root_transposed(self, g: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Sᵀ g."""
        return self._scaled(self.scale.gradient(g))

    def _scaled(self, w: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        found: Tensor = w + ((self.values.rsqrt() - 1) * (self.basis @ w)) @ self.basis
        return found


def shift_of_biases(risk: AutogradRisk) -> Float[Tensor, " p"]:
    """The direction in which nothing changes, of length 1."""
    parts = {name: torch.zeros_like(part) for name, part in risk.module.named_parameters()}
    last = list(parts)[-1]
    parts[last] = torch.ones_like(parts[last])
    found: Tensor = risk.flatten(parts)
    found /= found.norm()
    return found


def curvature_at(risk: AutogradRisk, theta: Float[Tensor, " p"], folder: Path) -> Curvature:
    """Lanczos with full orthogonalisation, the singular direction left out; kept in the folder."""
    kept = folder / "curvature.pt"
    if not kept.exists():
        factor = factor_of_gauss_newton(risk, theta, risk.num_examples)
        scale, single = Scale(factor), risk.to(torch.float32).curvature(theta.float())
        null = scale.forward(shift_of_biases(risk))
        rows = [null / null.norm()]
        w = torch.randn(len(theta), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        diagonal, beside = list[float](), list[float]()
        for _ in range(BASIS):
            for _ in range(2):
                w = w - torch.stack(rows).mT @ (torch.stack(rows) @ w)
            rows.append(w / w.norm())
            image = scale.gradient(single.product(scale.back(rows[-1]).float()[None])[0].double())
            diagonal.append(float(rows[-1] @ image))
            w = image
            beside.append(float((w - torch.stack(rows).mT @ (torch.stack(rows) @ w)).norm()))
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        off = torch.tensor(beside[:-1], dtype=torch.float64)
        tridiagonal += torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(tridiagonal)
        state = {
            "factor": factor,
            "basis": vectors.mT @ torch.stack(rows[1:]),
            "values": values,
            "residuals": beside[-1] * vectors[-1].abs(),
        }
        write_atomically(kept, lambda path: torch.save(state, path))
    state = torch.load(kept, weights_only=True)
    if len(state["basis"]) != BASIS:
        sys.exit(f"{kept} has another basis: remove it, and what was found by it: {folder / 'removals.csv'}")
    return Curvature(Scale(state["factor"]), state["basis"], state["values"], state["residuals"])


def solve(
    risk: AutogradRisk,
    theta: Float[Tensor, " p"],
    curvature: Curvature,
    v: Float[Tensor, " p"],
    tolerance: float = SOLVED,
) -> Float[Tensor, " p"]:
    """s with H s = v in the complement, by conjugate gradient in the variables of `Curvature`; in float64."""
    hessian = risk.curvature(theta)
    found, residual = torch.zeros_like(v), curvature.root_transposed(v)
    direction, start = residual.clone(), float(residual.norm())
    for _ in range(MOST):
        step = curvature.root(direction)
        image = curvature.root_transposed(hessian.product(step[None])[0])
        if float(direction @ image) <= 0:
            raise ArithmeticError("H has a negative eigenvalue: this is no minimum")
        length = float(residual @ residual) / float(direction @ image)
        found, before = found + length * step, float(residual @ residual)
        residual = residual - length * image
        if float(residual.norm()) <= tolerance * start:
            return found
        direction = residual + float(residual @ residual) / before * direction
    raise ArithmeticError(f"H s = v is left with a residual of {float(residual.norm()) / start:.1e}")


def lowest_eigenvalue(risk: AutogradRisk, theta: Tensor, curvature: Curvature) -> float:
    """λ_min(H) on the complement: inverse iteration from the lowest Ritz vector; an upper bound."""
    v = curvature.root(curvature.basis[0])
    hessian, null = risk.curvature(theta), shift_of_biases(risk)
    for _ in range(3):
        v = v - null * (null @ v)
        v = solve(risk, theta, curvature, v / v.norm(), INVERSE_SOLVED)
    v = v - null * (null @ v)
    v = v / v.norm()
    return float(v @ hessian.product(v[None])[0])


def without(
    risk: AutogradRisk, theta: Float[Tensor, " p"], row: int, curvature: Curvature
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"], int]:
    """The minimum without a training point, from θ̂; its gradient, and the gradients that were taken."""
    rest = without_rows(risk, (row,))
    assert isinstance(rest, AutogradRisk)
    norms = list[float]()

    def evaluate(w: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        value, gradient = rest.value_and_gradient(theta + curvature.root(torch.from_numpy(w)))
        norms.append(float(gradient.norm()))
        image: Float[np.ndarray, " p"] = curvature.root_transposed(gradient).numpy()
        return float(value), image

    def enough(_: Float[np.ndarray, " p"]) -> None:
        if norms[-1] <= REMOVED_TOLERANCE:
            raise StopIteration

    options = {"maxcor": 20, "maxiter": MOST_STEPS, "ftol": 0.0, "gtol": 0.0}
    search: Any = minimize
    start = np.zeros(len(theta))
    ended = search(evaluate, start, jac=True, method="L-BFGS-B", callback=enough, options=options)
    found = theta + curvature.root(torch.from_numpy(ended.x))
    return found, rest.gradient(found), len(norms)


def polished(
    risk: AutogradRisk, theta: Float[Tensor, " p"], curvature: Curvature, folder: Path
) -> Float[Tensor, " p"]:
    """θ̂ to rounding, by Newton steps, where values of R tell no step from another any more; kept."""
    kept = folder / "minimum.pt"
    if kept.exists():
        theta = torch.load(kept, weights_only=True)["theta"]
    for _ in range(NEWTON_STEPS):
        gradient = risk.gradient(theta)
        if float(gradient.norm()) <= TOLERANCE:
            break
        theta = theta - solve(risk, theta, curvature, gradient, NEWTON_SOLVED)
        state = {"theta": theta}
        write_atomically(kept, lambda path, state=state: torch.save(state, path))  # type: ignore[misc]
    return theta


def predictions(
    risk: AutogradRisk,
    theta: Float[Tensor, " p"],
    curvature: Curvature,
    test: tuple[Tensor, Tensor],
    folder: Path,
) -> Float[Tensor, " n"]:
    """The change of the test loss that leaving out each training point should cause; kept."""
    kept = folder / "predicted.pt"
    if not kept.exists():
        s_test = solve(risk, theta, curvature, risk.loss_gradient(theta, *test)[0])
        state = {"predicted": risk.per_example_gradient_dot(theta, s_test) / risk.num_examples}
        write_atomically(kept, lambda path: torch.save(state, path))
    found: Tensor = torch.load(kept, weights_only=True)["predicted"]
    return found


def removals(
    risk: AutogradRisk,
    theta: Float[Tensor, " p"],
    curvature: Curvature,
    predicted: Float[Tensor, " n"],
    rows: list[int],
    test: tuple[Tensor, Tensor],
    path: Path,
) -> pd.DataFrame:
    """Predicted and actual change of the test loss, a row for each point that has been left out so far."""
    before = float(risk.losses(theta, *test)[0])
    reach = curvature.root_transposed(risk.loss_gradient(theta, *test)[0])
    for row in rows:
        # A second process may work on the same rows.
        if path.exists() and row in set(pd.read_csv(path)["train_index"]):
            continue
        found, gradient, gradients = without(risk, theta, row, curvature)
        line = {
            "train_index": row,
            "predicted_change": float(predicted[row]),
            "actual_change": float(risk.losses(found, *test)[0]) - before,
            # Of first order, and not proven: what the rest of the gradient may still move the loss by.
            "error": float(reach.norm() * curvature.root_transposed(gradient).norm()),
            "gradient_norm": float(gradient.norm()),
            "gradients": gradients,
            "distance": float((found - theta).norm()),
        }
        pd.DataFrame([line]).to_csv(path, mode="a", header=not path.exists(), index=False)
    return pd.read_csv(path)


def draw(table: pd.DataFrame, target: int, folder: Path, console: Console) -> None:
    """How well predictions agree with what drawn points do, and the figure of those that came to rest."""
    rest = table[table["gradient_norm"] <= REMOVED_TOLERANCE]
    sizes = rest["predicted_change"].abs()
    parts = {"drawn": table, "at rest": rest} | {
        f"of these predicted from {low:g} to {high:g}": rest[(sizes >= low) & (sizes < high)]
        for low, high in pairwise(BANDS)
    }
    found = {name: agreement(part["predicted_change"], part["actual_change"]) for name, part in parts.items()}
    for name, part in parts.items():
        one, times = found[name], part["actual_change"] / part["predicted_change"]
        off = (part["actual_change"] - part["predicted_change"]).abs()
        console.print(
            f"{one.points} points {name}: r {one.pearson:.4f}, Spearman's {one.spearman:.4f}, slope "
            f"{one.slope:.3f}; actual {times.min():.2f} to {times.max():.2f} times predicted, median "
            f"{times.median():.2f}; off by {off.median():.1e} in the median, at most {off.max():.1e}"
        )
    # No certificate: the error is of first order, and not proven.
    shown = rest.assign(
        method="cg", test_index=target, predicted_stderr=0.0, certificate=np.nan, truth=CONTINUED
    )
    selection = (
        f"{len(rest)} of {len(table)} drawn images; without the others it did not come to rest. "
        "H is singular along a shift of the last biases"
    )
    figure = draw_leave_one_out(
        shown, {("cg", target): found["at rest"]}, {"cg": "CNN at its minimum"}, selection=selection
    )
    save(figure, folder / "cnn_minimum.png")


def main() -> None:
    """The command line."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--random", type=int, default=100, help="so many points, drawn")
    parser.add_argument("--largest", type=int, default=0, help="so many points of largest prediction")
    arguments = parser.parse_args(sys.argv[1:])
    folder: Path = arguments.folder
    torch.set_flush_denormal(True)
    risk, console = paper_risk(), Console()
    start = torch.load(folder / "lbfgs.pt", weights_only=True)["theta"]
    curvature = curvature_at(risk, start, folder)
    console.print(
        f"in the variables of the factor: eigenvalues {float(curvature.values[0]):.3g} (± "
        f"{float(curvature.residuals[0]):.1e}) to {float(curvature.values[-1]):.3g}"
    )
    if float(curvature.values[0]) <= 0:
        sys.exit("H has a negative eigenvalue: this is no minimum")
    theta = polished(risk, start, curvature, folder)
    value, gradient = risk.value_and_gradient(theta)
    lowest = lowest_eigenvalue(risk, theta, curvature)
    console.print(f"R = {float(value):.10f}, ‖∇R‖ = {float(gradient.norm()):.1e}, λ_min(H) ≤ {lowest:.2e}")
    config = compose(["experiment=figure2_cnn"])
    dataset, target = load_dataset(config), int(config["test_index"])
    test = torch.from_numpy(dataset.x_test[[target]]), torch.from_numpy(dataset.y_test[[target]])
    predicted = predictions(risk, theta, curvature, test, folder)
    drawn = random_points(num_examples=risk.num_examples, count=arguments.random, seed=0)
    largest = predicted.abs().argsort(descending=True)[: arguments.largest].tolist()
    rows = [*(row for (row,) in drawn), *largest]
    table = removals(risk, theta, curvature, predicted, rows, test, folder / "removals.csv")
    draw(table[table["train_index"].isin([row for (row,) in drawn])], target, folder, console)
    console.print(
        f"test point {target}, loss {float(risk.losses(theta, *test)[0]):.4f}; without a training point:"
    )
    console.print(table.to_string(index=False))


if __name__ == "__main__":
    main()
