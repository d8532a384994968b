"""The figure's stages, one command each, and all of them in order."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command
from cli.composing import compose, compose_methods, session_of
from cli.console import warn
from cli.options import Gpus, Method, Methods, Overrides


@command
def train(overrides: Overrides = None) -> None:
    """Fit θ̂ until ‖∇R(θ̂)‖ ≤ 1e-10; print objective, accuracy, gradient norm, seconds.

    Writes config.yaml, provenance.json and model.safetensors into the run folder.

    Examples:

        repro train
        repro train data=digits model.l2=0.001
        repro train data=npz data.path=mine.npz model.bias=true output_dir=outputs/mine
    """
    session = session_of(compose(overrides))
    from repro.stages.train import train as stage

    stage(session)


@command
def influence(overrides: Overrides = None, method: Method = None, gpus: Gpus = None) -> None:
    """Predict, for every training point, how the test loss changes when it is removed.

    Solves H s = ∇ℓ(z_test) by METHOD and writes influence/METHOD.csv and METHOD.json. Methods: exact
    (Cholesky factor of H), cg (conjugate gradient), lissa (stochastic recursion, the paper's settings),
    lissa_auto (the same, tuning itself), grad_dot (H replaced by the identity: the baseline that shows why
    H matters).

    Examples:

        repro influence --method lissa
        repro influence --method cg 'test_index=[8,33]'
        repro influence --method lissa influence.repeats=1 influence.seed=3
        repro influence --method exact --gpus 4
    """
    session = session_of(compose(overrides, method, gpus))
    from repro.stages.influence import influence as stage

    stage(session)


@command
def retrain(overrides: Overrides = None, gpus: Gpus = None) -> None:
    """Retrain without each point that the computed methods selected, to ‖∇R₋ᵢ‖ ≤ 1e-9, with a certificate.

    removals=random (removals.count of them), all or indices takes other points; these need no
    predictions. All models are solved together. Finished batches are written at once into retrain/weights:
    after a kill the same command does only the rest, and nothing is ever retrained twice.

    Examples:

        repro retrain
        repro retrain --gpus 4
        repro retrain removals=random removals.count=500
        torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST --no-python repro retrain
    """  # noqa: E501
    session = session_of(compose(overrides, gpus=gpus))
    from repro.stages.retrain import retrain as stage

    stage(session)


@command
def plot(overrides: Overrides = None) -> None:
    """Scatter predicted against actual change, one panel per method, and print how well they agree.

    Writes leave_one_out.csv, summary.json and, as .png and .pdf in plots/: leave_one_out (the scatter) and
    errors (beside certificates).

    Examples:

        repro plot
        repro plot plot.limits=0.05 top_k=200
        repro plot plot=paper
        repro plot removals=all 'test_index=[8,33,46]'
    """
    session = session_of(compose(overrides))
    from repro.stages.plot import plot as stage

    stage(session)


@command
def run(overrides: Overrides = None, method: Methods = None, gpus: Gpus = None) -> None:
    """The four stages in order, skipping what is already done.

    Examples:

        repro run data=digits --method cg
        repro run --method exact --method cg --method lissa --method grad_dot
        repro run --method cg model.l2=0.1 'test_index=[8,33,46]'
        repro run experiment=figure2
    """
    configs = compose_methods(overrides, method, gpus)
    if not method and not configs[0].names_method:
        configs = compose_methods(overrides, configs[0]["methods"], gpus)
    session = session_of(configs[0])
    from repro.stages.run import run as stage

    stage(session, configs)


@command
def report(
    overrides: Overrides = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Write report.html: the verdict, the figure to explore, who matters, how it was made. Plots anew.

    One file that opens from disk without a network: hover over a point to see the training image behind it,
    filter, select, switch methods; the most helpful and most harmful images; the commands that repeat it.

    Examples:

        repro report
        repro report data=digits --open
    """
    session = session_of(compose(overrides))
    from repro.stages.report import report as stage

    page = stage(session).page
    if show and not open_in_browser(page):
        warn(f"no browser can be opened from here; open {page.resolve()} yourself")


def open_in_browser(page: Path) -> bool:
    """Whether it could be opened where somebody sees it."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # What would open here is a text browser, in the terminal that waits for this command.
        return False
    return webbrowser.open(page.resolve().as_uri())
