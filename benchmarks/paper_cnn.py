"""How near a minimum the paper's CNN comes: `python -m benchmarks.paper_cnn FOLDER`.

The CNN of the third panel on its 5,500 images. Adam for 2,500 steps with a falling rate, then Newton steps
in a trust region, whose systems are solved by conjugate gradient around a Gauss-Newton factor, until ‖∇R‖ is
1e-10 or the seconds of processor time are spent. Resumable: a second call goes on where the first one ended.
Writes trace.csv and draws cnn_descent.png.
"""

import math
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from csv import writer
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from benchmarks.gauss_newton import factor_of_gauss_newton
from erm.autograd import AutogradRisk
from erm.files import write_atomically
from erm.networks import paper_cnn
from erm.risk import Curvature
from erm.trust_region import Scale, next_radius, steihaug_step
from plots.style import PALETTE, save, styled
from repro.configuration.compose import compose
from repro.problem import load_dataset, make_risk

STEPS, BATCH, FLAT = 2500, 500, 0.35
FIRST_RATE, LAST_RATE = 3e-3, 1e-5
REPORT_EVERY = 50
SHARE, KEEP_FACTOR, PRODUCTS, FORCING = 1000, 3, 25, 0.2
"""Of Newton: examples of a factor, the steps that it serves, and what a system is given."""
FIRST_RADIUS = 0.03
"""In the variables of the factor, where half its square is about what a step takes off R."""
TOLERANCE = 1e-10
SAME_VALUE = 1e-9


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


def newton(risk: AutogradRisk, start: Tensor, folder: Path, trace: Trace, most: float) -> Tensor:
    """θ after steps in a trust region, in the variables of a Gauss-Newton factor that is made anew."""
    kept, single = folder / "newton.pt", risk.to(torch.float32)
    theta, radius, done = start, FIRST_RADIUS, 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        theta, radius, done = state["theta"], state["radius"], state["step"]
    scale: Scale | None = None
    value, gradient = risk.value_and_gradient(theta)
    while float(gradient.norm()) > TOLERANCE and trace.seconds < most:
        if scale is None or done % KEEP_FACTOR == 0:
            scale = Scale(factor_of_gauss_newton(risk, theta, SHARE))
        curvature, by = single.curvature(theta.float()), scale

        def product(w: Tensor, curvature: Curvature = curvature, by: Scale = by) -> Tensor:
            image: Tensor = curvature.product(by.back(w).float()[None])[0].double()
            return by.gradient(image)

        forcing = min(FORCING, math.sqrt(float(gradient.norm())))
        step = steihaug_step(product, scale.gradient(gradient), radius=radius, forcing=forcing, most=PRODUCTS)
        there = theta + scale.back(step.direction)
        new_value, new_gradient = risk.value_and_gradient(there)
        fallen = float(value - new_value)
        share = fallen / step.decrease if step.decrease > SAME_VALUE * float(value) else float("nan")
        if math.isnan(share):
            share = float(new_gradient.norm() < gradient.norm())
        radius = next_radius(radius, step, share)
        if share > 0:
            theta, value, gradient = there, new_value, new_gradient
        done += 1
        state = {"theta": theta, "radius": radius, "step": done}
        _keep(kept, state)
        trace.add("Newton", done, float(value), float(gradient.norm()))
    return theta


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
    newton(risk, theta, folder, trace, arguments.seconds)
    table = pd.read_csv(folder / "trace.csv")
    with styled():
        figure = draw(table)
        save(figure, folder / "cnn_descent.png")
    Console().print(table.tail(5).to_string(index=False))


if __name__ == "__main__":
    main()
