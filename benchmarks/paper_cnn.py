"""How near a minimum the paper's CNN comes: `python -m benchmarks.paper_cnn FOLDER`.

The CNN of the third panel on its 5,500 images. Adam for 2,500 steps with a falling rate, then L-BFGS in the
variables of a Gauss-Newton factor, until ‖∇R‖ is 1e-10 or the seconds of processor time are spent. Resumable:
a second call goes on where the first one ended. Writes trace.csv and draws cnn_descent.png.
"""

import itertools
import math
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from csv import writer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from rich.console import Console
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from benchmarks.gauss_newton import factor_of_gauss_newton
from erm.autograd import AutogradRisk
from erm.files import write_atomically
from erm.networks import paper_cnn
from erm.trust_region import Scale
from plots.style import PALETTE, save, styled
from repro.configuration.compose import compose
from repro.problem import load_dataset, make_risk

STEPS, BATCH, FLAT = 2500, 500, 0.35
FIRST_RATE, LAST_RATE = 3e-3, 1e-5
REPORT_EVERY = 50
SHARE, ITERATIONS, MEMORY = 2000, 80, 50
"""Of L-BFGS: examples of a factor, the iterations that it serves, and pairs that are remembered."""
REPORT_ITERATIONS = 10
PRECISE_BELOW = 1e-3
"""Gradient norm below which the gradients are in float64."""
TOLERANCE = 1e-10


class Trace:
    """Lines of trace.csv, and the processor time that they have taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        before = pd.read_csv(path) if path.exists() else None
        self.spent = 0.0 if before is None else float(before["seconds"].iloc[-1])
        if before is None:
            self._write(("phase", "step", "objective", "gradient_norm", "seconds"))

    @property
    def seconds(self) -> float:
        return self.spent + time.process_time()

    def add(self, phase: str, step: int, objective: float, norm: float) -> None:
        self._write((phase, step, f"{objective:.10f}", f"{norm:.6e}", f"{self.seconds:.1f}"))

    def _write(self, line: tuple[object, ...]) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer(file).writerow(line)


def paper_risk() -> AutogradRisk:
    """In float64; products by the cheaper way."""
    config = compose(["experiment=figure2_cnn"])
    found = make_risk(config, load_dataset(config), torch.device("cpu"))
    return AutogradRisk(
        module=paper_cnn(784, 10, seed=0), x=found.x, y=found.y, l2=found.l2,
        regularised=found.regularised, hvp_mode="double_backward", batch_size=BATCH,
    )  # fmt: skip


def adam(risk: AutogradRisk, folder: Path, trace: Trace, most: float) -> Tensor:
    """θ after the steps, or after as many as there was time for."""
    single = risk.to(torch.float32)
    module: Module = single.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = [part for part in module.parameters() if part.ndim > 1]
    stepper, done = torch.optim.Adam(module.parameters(), lr=FIRST_RATE), 0
    kept = folder / "adam.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        module.load_state_dict(state["module"])
        stepper.load_state_dict(state["stepper"])
        done = state["step"]
    per_epoch = risk.num_examples // BATCH
    while done < STEPS and trace.seconds < most:
        order = torch.from_numpy(
            np.random.RandomState(1000 + done // per_epoch).permutation(risk.num_examples)
        )
        rows = order[done % per_epoch * BATCH :][:BATCH]
        stepper.param_groups[0]["lr"] = _rate(done / STEPS)
        penalty = risk.l2 / 2 * torch.stack([part.square().sum() for part in weights]).sum()
        loss = cross_entropy(module(single.x[rows]), single.y[rows]) + penalty
        for part, gradient in zip(
            module.parameters(), torch.autograd.grad(loss, list(module.parameters())), strict=True
        ):
            part.grad = gradient
        stepper.step()
        done += 1
        if done % REPORT_EVERY == 0:
            state = {"module": module.state_dict(), "stepper": stepper.state_dict(), "step": done}
            _keep(kept, state)
            value, whole = single.value_and_gradient(risk.flatten(dict(module.named_parameters())))
            trace.add("Adam", done, float(value), float(whole.norm()))
    return risk.flatten(dict(module.named_parameters())).double()


def _rate(share: float) -> float:
    fallen = max(0.0, (share - FLAT) / (1 - FLAT))
    return FIRST_RATE * math.pow(LAST_RATE / FIRST_RATE, fallen)


def _keep(path: Path, state: dict[str, object]) -> None:
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def descend(risk: AutogradRisk, start: Tensor, folder: Path, trace: Trace, most: float) -> None:
    """Rounds of L-BFGS in the variables of a Gauss-Newton factor, which each round makes anew; θ is kept."""
    kept = folder / "lbfgs.pt"
    theta, done, norm = start, 0, math.inf
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        theta, done, norm = state["theta"], state["round"], state["gradient_norm"]
    single = risk.to(torch.float32)
    while norm > TOLERANCE and trace.seconds < most:
        theta = one_round(risk if norm < PRECISE_BELOW else single, theta, trace, done)
        value, gradient = risk.value_and_gradient(theta)
        norm, done = float(gradient.norm()), done + 1
        _keep(kept, {"theta": theta, "round": done, "gradient_norm": norm})
        trace.add("L-BFGS", done * ITERATIONS, float(value), norm)


def one_round(risk: AutogradRisk, start: Tensor, trace: Trace, rounds: int) -> Tensor:
    """At most `ITERATIONS` of L-BFGS; its memory is that of the round."""
    scale = Scale(factor_of_gauss_newton(risk.to(torch.float64), start, SHARE))
    dtype = risk.x.dtype
    found: list[tuple[float, float]] = []

    def there(w: Float[np.ndarray, " p"]) -> Tensor:
        return start + scale.back(torch.from_numpy(w))

    def evaluate(w: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        value, gradient = risk.value_and_gradient(there(w).to(dtype))
        found.append((float(value), float(gradient.norm())))
        image: Float[np.ndarray, " p"] = scale.gradient(gradient.double()).numpy()
        return float(value), image

    steps = itertools.count(rounds * ITERATIONS + 1)

    def report(_: Float[np.ndarray, " p"]) -> None:
        if (step := next(steps)) % REPORT_ITERATIONS == 0:
            trace.add("L-BFGS", step, *found[-1])

    options = {"maxcor": MEMORY, "maxiter": ITERATIONS - 1, "ftol": 0.0, "gtol": 0.0}
    search: Any = minimize
    ended = search(
        evaluate, np.zeros(len(start)), jac=True, method="L-BFGS-B", callback=report, options=options
    )
    return there(ended.x)


def draw(table: pd.DataFrame) -> Figure:
    """‖∇R‖ and R against the processor time."""
    figure = Figure(figsize=(6.6, 2.3), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2), ("gradient_norm", "objective"), ("‖∇R‖", "R"), strict=True
    ):
        for colour, (phase, rows) in zip(PALETTE, table.groupby("phase", sort=False), strict=False):
            axes.plot(rows["seconds"], rows[column], ".-", ms=3, lw=0.8, color=colour, label=phase)
        axes.set(yscale="log", xlabel="seconds of one processor", ylabel=label)
    axes.legend()
    return figure


def main() -> None:
    """Go on from what the folder has, and draw."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--seconds", type=float, default=1800.0, help="of processor time, over all calls")
    arguments = parser.parse_args(sys.argv[1:])
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    trace, risk = Trace(folder / "trace.csv"), paper_risk()
    theta = adam(risk, folder, trace, arguments.seconds)
    descend(risk, theta, folder, trace, arguments.seconds)
    table = pd.read_csv(folder / "trace.csv")
    with styled():
        figure = draw(table)
        save(figure, folder / "cnn_descent.png")
    Console().print(table.tail(5).to_string(index=False))


if __name__ == "__main__":
    main()
