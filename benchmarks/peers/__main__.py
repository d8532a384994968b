"""Every package in one run: agreement with exact influence, and seconds of the first and of a warm call.

`python -m benchmarks.peers [FIGURE.png]`; without arguments it prints the table alone. Pearson's r is over
all training points, and over the 500 of largest exact influence; the slope is over all.
"""

import functools
import importlib
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.arguments import read_arguments
from benchmarks.mnist import Trained, train_mnist
from benchmarks.peers.problem import Candidate, Candidates, PeerProblem, peer_problem
from benchmarks.report import machine
from influence.cg import CG
from influence.exact import Exact
from influence.grad_dot import GradDot
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.scores import influence_scores
from influence.solution import Solver
from plots.agreement import agreement
from plots.cost import draw_cost
from plots.style import save

TOP = 500
LONG = 60.0
"""Seconds of a first call beyond which no second one is made: what starting takes does not show in it."""
PEERS = ("dattri", "pydvl", "kronfluence", "captum")
OURS: dict[str, Callable[[], Solver]] = {
    "grad_dot": GradDot,
    "lissa": LiSSA,
    "lissa_auto target=0.2": lambda: LiSSAAuto(target=0.2),
    "lissa_auto target=0.01": LiSSAAuto,
    "cg tolerance=5e-1": lambda: CG(tolerance=0.5),
    "cg tolerance=1e-1": lambda: CG(tolerance=1e-1),
    "cg tolerance=1e-2": lambda: CG(tolerance=1e-2),
    "cg tolerance=1e-4": lambda: CG(tolerance=1e-4),
    "cg tolerance=1e-8": CG,
    "cg preconditioner=none tolerance=1e-1": lambda: CG(preconditioner="none", tolerance=1e-1),
    "cg preconditioner=none tolerance=1e-2": lambda: CG(preconditioner="none", tolerance=1e-2),
    "cg preconditioner=none tolerance=1e-4": lambda: CG(preconditioner="none", tolerance=1e-4),
    "cg preconditioner=none tolerance=1e-8": lambda: CG(preconditioner="none"),
}


def ours(trained: Trained, solver: Solver) -> Float[Tensor, " n"]:
    """s_testᵀ∇L of every training example, from θ̂."""
    v = trained.risk.loss_gradient(trained.theta, trained.x_test, trained.y_test)[0]
    solution = solver.at(trained.risk.curvature(trained.theta))(v)
    return influence_scores(trained.risk, trained.theta, solution).predicted_change


def _ours_by_name(trained: Trained, name: str) -> Float[Tensor, " n"]:
    return ours(trained, OURS[name]())


def _theirs(problem: PeerProblem, score: Candidate) -> Float[Tensor, " n"]:
    return score(problem) / len(problem.x)


def installed_peers(console: Console) -> Candidates:
    """What of the peers is here; the others are named."""
    found: Candidates = {}
    for name in PEERS:
        try:
            found |= importlib.import_module(f"benchmarks.peers.with_{name}").CANDIDATES
        except ImportError as error:
            console.print(f"left out: {name} ({error}); `make peers` installs it")
    return found


def measure(truth: Float[Tensor, " n"], score: Callable[[], Float[Tensor, " n"]]) -> dict[str, float]:
    """Seconds of a first and of a second call, r over all points and over the top ones, slope of exact on
    found."""
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        found = score()
        seconds.append(time.perf_counter() - started)
        if seconds[0] > LONG:
            seconds.append(math.nan)
            break
    values, exact = found.double().numpy(), truth.numpy()
    top = np.argsort(-np.abs(exact))[:TOP]
    agreed = agreement(values, exact)
    return {
        "seconds": seconds[0],
        "warm": seconds[1],
        "pearson": agreed.pearson,
        "top": agreement(values[top], exact[top]).pearson,
        "slope": agreed.slope,
    }


def main() -> None:
    """Print the table; draw the figure where an argument names one."""
    target = read_arguments(__doc__, sys.argv[1:], target="FIGURE.png")
    console = Console(soft_wrap=True)
    trained = train_mnist()
    problem = peer_problem(trained)
    truth = ours(trained, Exact())
    candidates: dict[str, Callable[[], Float[Tensor, " n"]]] = {
        name: functools.partial(_ours_by_name, trained, name) for name in OURS
    }
    candidates |= {
        name: functools.partial(_theirs, problem, score) for name, score in installed_peers(console).items()
    }
    rows = []
    for name, score in candidates.items():
        rows.append({"setting": name} | measure(truth, score))
        console.print(f"{name}: {rows[-1]['seconds']:.1f} s")
    table = pd.DataFrame(rows)
    table["family"] = [_family(setting) for setting in table["setting"]]
    table["disagreement"] = 1 - table["pearson"]
    _show(console, table)
    console.print(machine())
    if target is not None:
        theirs = {_family(setting) for setting in table["setting"]} - {_family(name) for name in OURS}
        figure = draw_cost(table, {"disagreement": "1 − r, over all training points"}, hollow=theirs)
        save(figure, target)


def _family(setting: str) -> str:
    """The package and method, less the numbers."""
    return " ".join(word for word in setting.split() if not word.split("=")[-1][0].isdigit())


def _show(console: Console, table: pd.DataFrame) -> None:
    shown = Table("setting", "first call", "warm", "r, all points", f"r, top {TOP}", "slope")
    for row in table.to_dict("records"):
        warm = "" if math.isnan(row["warm"]) else f"{row['warm']:.2f}"
        shown.add_row(
            row["setting"],
            f"{row['seconds']:.2f}",
            warm,
            f"{row['pearson']:.7f}",
            f"{row['top']:.7f}",
            f"{row['slope']:.4f}",
        )
    console.print(shown)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
