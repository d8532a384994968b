"""Does influence fail, or the experiment? `python -m benchmarks.beyond_convex [FOLDER]`.

Networks of one hidden layer on digits, the 100 points of largest predicted influence. First at minima: r and
slope for each λ and width, over the models of θ̂'s own basin. Then short of one: predictions from where L-BFGS
stood at ‖∇R‖ of 1e-1 to 1e-8, on its way to the θ̂ of λ = 0.01 and 8 units, against the actual changes there;
where H has a negative eigenvalue, it is damped by twice its size. And by the paper's protocol: Adam, and more
of it without each point, from the same start. With FOLDER the runs are kept there, so that a second call goes
on with them, and the figure is drawn: nonconvex.png.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.arguments import read_arguments
from benchmarks.report import machine
from erm.descent import Point, descended
from erm.lowest import lowest_of_matrix
from erm.risk import EmpiricalRisk
from plots.agreement import agreement
from plots.style import NOTE_SIZE, PALETTE, save, styled
from repro.agreement import JoinedChanges
from repro.errors import StageError
from repro.experiment import Experiment

LAMBDAS = {
    4: (0.1, 0.03, 0.01, 0.003, 0.001),
    8: (0.1, 0.03, 0.01, 0.003, 0.001),
    16: (0.1,),
}
"""For each number of units; the widest take longest: H of 1,210 parameters, again and again."""
NORMS = tuple(10.0**-power for power in range(1, 9))
MOST = 5000
"""Passes on the way to a gradient norm."""


@dataclass(frozen=True, kw_only=True)
class AtMinimum:
    """One figure whose θ̂ and models are minima."""

    hidden: int
    l2: float
    r: float = float("nan")
    slope: float = float("nan")
    same: int = 0
    left: int = 0
    undecided: int = 0
    smallest_eigenvalue: float = float("nan")
    certificate: float = float("nan")
    """The largest, of those in the same basin; in units of the smallest predicted change."""
    why: str = ""
    """Why there is none."""


@dataclass(frozen=True, kw_only=True)
class Short:
    """Predictions from a θ̃ that is no minimum."""

    norm: float
    distance: float
    """‖θ̃ − θ̂‖/‖θ̂‖."""
    smallest_eigenvalue: float
    r: float
    slope: float


def at_minimum(folder: Path, hidden: int, l2: float) -> tuple[AtMinimum, JoinedChanges | None]:
    """The four stages, or what is left of them in the folder."""
    words = ("data=digits", "model=network", "top_k=100", f"model.hidden={hidden}", f"model.l2={l2}")
    run = Experiment(*words, output_dir=folder / f"{hidden}-{l2}")
    try:
        model = run.train()
        run.predict("exact")
        run.retrain()
    except StageError as error:
        return AtMinimum(hidden=hidden, l2=l2, why=str(error)), None
    joined = run.agreement()
    (point,) = joined.summary.values()
    assert point.basins is not None
    table = joined.table
    same = table[table["truth"] == "same basin"]
    found = point.methods["exact"].agreement
    return AtMinimum(
        hidden=hidden,
        l2=l2,
        r=found.pearson,
        slope=found.slope,
        same=point.basins.same_basin,
        left=point.basins.left_it,
        undecided=point.basins.undecided,
        smallest_eigenvalue=model.facts.smallest_eigenvalue or float("nan"),
        certificate=float(same["certificate"].max() / table["predicted_change"].abs().min()),
    ), joined


def short_of_minimum(
    joined: JoinedChanges, target: int, test: tuple[torch.Tensor, torch.Tensor]
) -> list[Short]:
    """Predictions on the way from the risk's own start to θ̂, of the points of a figure."""
    risk, minimum = joined.risk, joined.model.theta
    table = joined.table[joined.table["test_index"] == target]
    rows, actual = torch.tensor(table["train_index"].tolist()), table["actual_change"].to_numpy()
    here, found = _evaluated(risk, risk.initial_parameters()), []
    for norm in NORMS:
        here = _down_to(risk, here, norm)
        matrix = risk.curvature(here.theta).matrix()
        below = lowest_of_matrix(matrix).value
        matrix.diagonal().add_(max(0.0, -2 * below))
        s_test = torch.linalg.solve(matrix, risk.loss_gradient(here.theta, *test)[0])
        predicted = risk.per_example_gradient_dot(here.theta, s_test)[rows] / risk.num_examples
        compared = agreement(predicted.numpy(), actual)
        found.append(
            Short(
                norm=here.norm,
                distance=float((here.theta - minimum).norm() / minimum.norm()),
                smallest_eigenvalue=below,
                r=compared.pearson,
                slope=compared.slope,
            )
        )
    return found


def _evaluated(risk: EmpiricalRisk, theta: torch.Tensor) -> Point:
    value, gradient = risk.value_and_gradient(theta)
    return Point(theta, float(value), gradient, float(gradient.norm()))


def _down_to(risk: EmpiricalRisk, here: Point, norm: float) -> Point:
    """The first point of L-BFGS whose gradient is no longer than that."""
    passes = 0

    def evaluate(theta: torch.Tensor) -> Point:
        nonlocal passes, here
        passes += 1
        there = _evaluated(risk, theta)
        if there.norm <= norm and here.norm > norm:
            here = there
        return there

    while here.norm > norm and passes < MOST:
        there = descended(evaluate, here, evaluations=MOST - passes, norm=norm / 10)
        here = here if here.norm <= norm else there
    return here


def draw(minima: list[AtMinimum], short: list[Short]) -> Figure:
    """r against λ for each width, and r on the way to one minimum."""
    figure = Figure(figsize=(6.6, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for colour, hidden in zip(PALETTE, LAMBDAS, strict=False):
        rows = [row for row in minima if row.hidden == hidden and not row.why]
        x, y = [row.l2 for row in rows], [row.r for row in rows]
        left.plot(x, y, "o-", ms=4, lw=1, color=colour, label=f"{hidden} units")
        for row in rows:
            if row.left or row.undecided:
                left.annotate(
                    f"{row.same} of 100", (row.l2, row.r), xytext=(4, -9), textcoords="offset points",
                    fontsize=NOTE_SIZE, color=colour,
                )  # fmt: skip
    left.set(xscale="log", xlabel="λ", ylabel="Pearson r", title="at a minimum")
    left.legend(fontsize=NOTE_SIZE)
    for definite, face in ((True, PALETTE[0]), (False, "white")):
        those = [row for row in short if (row.smallest_eigenvalue > 0) == definite]
        label = "H positive definite" if definite else "H indefinite, damped"
        x, y = [row.norm for row in those], [row.r for row in those]
        right.plot(x, y, "o", ms=5, color=PALETTE[0], mfc=face, label=label)
    right.plot([row.norm for row in short], [row.r for row in short], lw=1, color=PALETTE[0], zorder=0)
    right.set(xscale="log", xlabel="‖∇R(θ̃)‖", title="predicted short of it: λ = 0.01, 8 units")
    right.invert_xaxis()
    right.legend(fontsize=NOTE_SIZE)
    return figure


def _tell(console: Console, title: str, rows: list[AtMinimum] | list[Short]) -> None:
    table = Table(*asdict(rows[0]), box=MARKDOWN, title=title)
    for row in rows:
        values = asdict(row).values()
        table.add_row(*(f"{value:.5g}" if isinstance(value, float) else str(value) for value in values))
    console.print(table)


def measure(folder: Path) -> tuple[list[AtMinimum], list[Short]]:
    """Both tables; what was measured before lies in the folder."""
    minima, short = [], list[Short]()
    for hidden, lambdas in LAMBDAS.items():
        for l2 in lambdas:
            kept = folder / f"{hidden}-{l2}.json"
            asked = (hidden, l2) == (8, 0.01) and not (folder / "short.json").exists()
            if kept.exists() and not asked:
                minima.append(AtMinimum(**json.loads(kept.read_text(encoding="utf-8"))))
                continue
            row, joined = at_minimum(folder, hidden, l2)
            kept.write_text(json.dumps(asdict(row)), encoding="utf-8")
            minima.append(row)
            if asked and joined is not None:
                run = Experiment("data=digits")
                (target,) = joined.summary
                short = short_of_minimum(joined, target, run.session.test_examples([target]))
                found = json.dumps([asdict(one) for one in short])
                (folder / "short.json").write_text(found, encoding="utf-8")
    if not short:
        short = [Short(**one) for one in json.loads((folder / "short.json").read_text(encoding="utf-8"))]
    return minima, short


def main() -> None:
    """Print both tables, and draw."""
    target = read_arguments(__doc__, sys.argv[1:], target="FOLDER")
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory() as name:
        folder = target or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        minima, short = measure(folder)
        _tell(console, "at a minimum", minima)
        _tell(console, "short of it, λ = 0.01, 8 units", short)
        if target is not None:
            with styled():
                figure = draw(minima, short)
                save(figure, folder / "nonconvex.png")
    console.print(machine())


if __name__ == "__main__":
    main()
