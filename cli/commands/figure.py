"""The figure's stages, one command each, and all of them in order."""

from typing import Annotated

import typer

from cli.command import command
from cli.composing import compose, compose_methods, compose_run
from cli.console import warn
from cli.options import Gpus, Method, Methods, Overrides, as_list, with_gpus


@command
def train(overrides: Overrides = None) -> None:
    """Fit θ̂ until ‖∇R(θ̂)‖ ≤ 1e-10; print objective, accuracy, gradient norm, seconds.

    Writes config.yaml, provenance.json and model.safetensors into the run folder.

    Examples:

        repro train
        repro train data=digits model.l2=0.001
        repro train data=npz data.path=mine.npz model.bias=true output_dir=outputs/mine
    """
    config = compose(as_list(overrides))
    from cli.terminal import session_of
    from repro.stages.train import train as stage

    stage(session_of(config))


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
    config = compose_methods(with_gpus(overrides, gpus), [method] if method else [])[0]
    from cli.terminal import session_of
    from repro.stages.influence import influence as stage

    stage(session_of(config))


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
    config = compose(with_gpus(overrides, gpus))
    from cli.terminal import session_of
    from repro.stages.retrain import retrain as stage

    stage(session_of(config))


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
    config = compose(as_list(overrides))
    from cli.terminal import session_of
    from repro.stages.plot import plot as stage

    stage(session_of(config))


@command
def run(overrides: Overrides = None, method: Methods = None, gpus: Gpus = None) -> None:
    """The four stages in order, skipping what is already done.

    Examples:

        repro run data=digits --method cg
        repro run --method exact --method cg --method lissa --method grad_dot
        repro run --method cg model.l2=0.1 'test_index=[8,33,46]'
        repro run experiment=figure2
    """
    configs = compose_run(with_gpus(overrides, gpus), list(method or []))
    from cli.terminal import session_of
    from repro.stages.run import run as stage

    stage(session_of(configs[0]), configs)


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
    config = compose(as_list(overrides))
    from cli.browser import open_in_browser
    from cli.terminal import session_of
    from repro.stages.report import report as stage

    page = stage(session_of(config)).page
    if show and not open_in_browser(page):
        warn(f"no browser can be opened from here; open {page.resolve()} yourself")
