"""The iHVP solvers side by side on MNIST, test point 8: `python -m benchmarks.solvers`."""

import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console

from benchmarks.arguments import read_arguments
from benchmarks.mnist import Trained, train_mnist
from benchmarks.report import Measure, machine, show
from influence.cg import CG
from influence.exact import Exact
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.solution import Solution, Solver

SOLVERS: dict[str, Callable[[], Solver]] = {
    "exact": Exact,
    "cg": CG,
    "cg, preconditioner=none": lambda: CG(preconditioner="none"),
    "lissa, the paper's settings": LiSSA,
    "lissa_auto": LiSSAAuto,
    "lissa_auto, target=0.2": lambda: LiSSAAuto(target=0.2),
}


def solve(trained: Trained, solver: Solver) -> tuple[float, Solution]:
    """Seconds from a trained model to s_test, preparation included, and s_test."""
    v = trained.risk.loss_gradient(trained.theta, trained.x_test, trained.y_test)[0]
    started = time.perf_counter()
    solution = solver.at(trained.risk.curvature(trained.theta))(v)
    return time.perf_counter() - started, solution


def main() -> None:
    """Print the table."""
    read_arguments(__doc__, sys.argv[1:])
    trained = train_mnist()
    found = {name: solve(trained, make()) for name, make in SOLVERS.items()}
    truth = found["exact"][1].value
    measures = []
    for name, (seconds, solution) in found.items():
        error = float(torch.linalg.vector_norm(solution.value - truth) / truth.norm())
        measures += [
            Measure(name=f"{name}: time", value=seconds, form="{:.1f} s"),
            Measure(name=f"{name}: Hessian-vector products", value=solution.num_hvps, form="{:.1f}"),
            Measure(name=f"{name}: error of s_test", value=error, form="{:.1e}"),
        ]
    console = Console(soft_wrap=True)
    show(console, "From θ̂ to s_test", measures)
    console.print(machine())


if __name__ == "__main__":
    main()
