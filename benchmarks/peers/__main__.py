"""Every package in one run: agreement with exact influence, and seconds of the first and of a warm call.

`python -m benchmarks.peers [FIGURE.png]`; without arguments it prints the table alone. The judge is
`repro.score`: Pearson's r over all training points, and over the 500 of largest exact influence; slope and
what is called wrong over all. Each package computes on one thread, so that the seconds of the processor tell
the same on a busy machine; those of the clock stand beside them.
"""

import functools
import importlib
import math
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.arguments import read_arguments
from benchmarks.mnist import TEST_INDEX, Trained, train_mnist
from benchmarks.peers.problem import Candidate, Candidates, PeerProblem, peer_problem
from benchmarks.report import machine
from influence.cg import CG
from influence.grad_dot import GradDot
from influence.lissa import LiSSA
from influence.lissa_auto import LiSSAAuto
from influence.scores import influence_scores
from influence.solution import Solver
from plots.cost import draw_cost
from plots.style import save
from repro import score
from score.faults import Fault

TOP = 500
JUDGE = CG(tolerance=1e-12)
WIDTH = 160
"""Columns, so that no cell of the table is folded."""
LONG = 40.0
"""Processor seconds of a first call beyond which no second one is made: starting does not show in it."""
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
    "cg preconditioner=none tolerance=1e-2": lambda: CG(preconditioner="none", tolerance=1e-2),
}


def ours(trained: Trained, solver: Solver) -> Float[Tensor, " n"]:
    """s_testᵀ∇L of every training example, from θ̂."""
    v = trained.risk.loss_gradient(trained.theta, trained.x_test, trained.y_test)[0]
    solution = solver.at(trained.risk.curvature(trained.theta))(v)
    return influence_scores(trained.risk, trained.theta, solution).predicted_change


def _ours_by_name(trained: Trained, name: str) -> Float[Tensor, " n"]:
    return ours(trained, OURS[name]())


def _theirs(problem: PeerProblem, candidate: Candidate) -> Float[Tensor, " n"]:
    return candidate(problem) / len(problem.x)


def installed_peers(console: Console) -> Candidates:
    """What of the peers is here; the others are named."""
    found: Candidates = {}
    for name in PEERS:
        try:
            found |= importlib.import_module(f"benchmarks.peers.with_{name}").CANDIDATES
        except ImportError as error:
            console.print(f"left out: {name} ({error}); `make peers` installs it")
    return found


def true_changes(values: Float[np.ndarray, " n"], rows: Int[np.ndarray, " m"]) -> pd.DataFrame:
    """The exact solution at some training points, as the truth that `score` judges by."""
    return pd.DataFrame(
        {"test_index": TEST_INDEX, "train_index": rows, "actual_change": values[rows], "certificate": 0.0}
    )


def measure(exact: Float[np.ndarray, " n"], estimate: Callable[[], Float[Tensor, " n"]]) -> dict[str, Any]:
    """Seconds of a first and of a second call by the clock and of the processor, and the judge's figures."""
    row: dict[str, Any] = {"warm": math.nan, "warm_processor": math.nan}
    for call in ("first", "warm"):
        if call == "warm" and row["first_processor"] > LONG:
            break
        started = time.perf_counter(), time.process_time()
        found = estimate()
        row[call] = time.perf_counter() - started[0]
        row[f"{call}_processor"] = time.process_time() - started[1]
    whole = score(found, true_changes(exact, np.arange(len(exact))))
    top = score(found, true_changes(exact, np.argsort(-np.abs(exact))[:TOP]))
    called = ", ".join(f"{fault.name} {_value(fault)}".strip() for fault in whole.faults)
    return row | {
        "pearson": whole.pearson.value,
        "top": top.pearson.value,
        "slope": whole.slope.value,
        "called": called,
    }


def _value(fault: Fault) -> str:
    return "" if fault.value is None else f"{fault.value:.3g}"


def main() -> None:
    """Print the table; draw the figure where an argument names one."""
    target = read_arguments(__doc__, sys.argv[1:], target="FIGURE.png")
    torch.set_num_threads(1)
    console = Console(soft_wrap=True, width=WIDTH)
    trained = train_mnist()
    problem = peer_problem(trained)
    exact = ours(trained, JUDGE).numpy()
    candidates: dict[str, Callable[[], Float[Tensor, " n"]]] = {
        name: functools.partial(_ours_by_name, trained, name) for name in OURS
    }
    candidates |= {
        name: functools.partial(_theirs, problem, candidate)
        for name, candidate in installed_peers(console).items()
    }
    rows = []
    for name, estimate in candidates.items():
        rows.append({"setting": name} | measure(exact, estimate))
        console.print(" | ".join(_cells(rows[-1])))
    table = pd.DataFrame(rows)
    table["family"] = [_family(setting) for setting in table["setting"]]
    table["disagreement"] = 1 - table["pearson"]
    table["seconds"] = table["warm_processor"].fillna(table["first_processor"])
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
    """In Markdown, as docs/benchmarks.md records it."""
    shown = Table(
        "setting", "first call", "warm", "r, all points", f"r, top {TOP}", "slope", "named", box=MARKDOWN
    )
    for row in table.to_dict("records"):
        shown.add_row(*_cells(row))
    console.print("Seconds of the processor, and in brackets those of the clock:")
    console.print(shown)


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    calls = [
        "" if math.isnan(row[call]) else f"{row[f'{call}_processor']:.1f} ({row[call]:.1f})"
        for call in ("first", "warm")
    ]
    figures = [f"{row['pearson']:.7f}", f"{row['top']:.7f}", f"{row['slope']:.3f}"]
    return [row["setting"], *calls, *figures, row["called"]]


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
