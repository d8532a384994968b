"""The commands. Torch is imported by the stage that needs it, so help and usage errors answer at once."""

import functools
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cli.compose import compose, compose_methods, groups
from cli.console import complain, say
from cli.errors import StageError, TerminatedError, UsageError
from cli.family import started_by_command

EPILOG = "Any key of the configuration can follow as KEY=VALUE; `repro config` prints them all."
METHODS = "a file of configs/influence/"

app = typer.Typer(
    name="repro",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Reproduce, certify and explain Figure 2 of Koh & Liang (ICML 2017): how well do influence
    functions predict the change of a test loss when one training point is removed?

    Four stages, each reading what the one before wrote into the run folder:

    [bold]repro train[/]                       fit θ̂ to a gradient norm of 1e-10

    [bold]repro influence --method lissa[/]    predict the change for every training point

    [bold]repro retrain --gpus 4[/]            retrain without each of the 500 most influential

    [bold]repro plot[/]                        scatter predicted against actual change

    or all of them: [bold]repro run --method exact --method lissa[/]. A first try that needs no download and
    takes seconds: [bold]repro run data=digits --method cg[/].""",
    epilog=EPILOG,
)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Overrides of the configuration, such as data=digits model.l2=0.1 influence.top_k=200",
        show_default=False,
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        min=0,
        help="Processes, one a GPU; on a machine without any, so many on the CPU. 0: one process on the CPU. "
        "Default: one GPU if there is any. Short for retrain.gpus=N",
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option("--method", "-m", help=f"How s_test is computed: {METHODS}", show_default="lissa"),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", "-m", help=f"May be given several times: {METHODS}", show_default="lissa"),
]


def _reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the project's own exceptions into a message on stderr and an exit code."""

    @functools.wraps(command)
    def wrapped(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
        except UsageError as error:
            complain(str(error))
            raise typer.Exit(2) from error
        except StageError as error:
            complain(str(error))
            raise typer.Exit(1) from error
        except OSError as error:
            complain(f"{error.filename or 'file system'}: {error.strerror or error}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            _say_ended("interrupted")
            raise typer.Exit(130) from error
        except TerminatedError as error:
            _say_ended("terminated")
            raise typer.Exit(143) from error

    return wrapped


def _say_ended(how: str) -> None:
    if not started_by_command():
        complain(f"{how}. Finished stages and batches are kept; the same command goes on from there")


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"repro {version('leave-one-out-reproducer')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options before the command."""


@app.command(epilog=EPILOG)
@_reports_errors
def train(overrides: Overrides = None) -> None:
    """Fit θ̂ until ‖∇R(θ̂)‖ ≤ 1e-10; print objective, accuracy, gradient norm, seconds.

    Writes config.yaml, provenance.json and model.safetensors into the run folder.

    [bold]Examples[/]

    repro train

    repro train data=digits model.l2=0.001

    repro train data=npz data.path=mine.npz model.bias=true output_dir=outputs/mine
    """
    config = compose(_list(overrides))
    from cli.stages.train import train as stage

    stage(config)


@app.command(epilog=EPILOG)
@_reports_errors
def influence(overrides: Overrides = None, method: Method = None, gpus: Gpus = None) -> None:
    """Predict, for every training point, how the test loss changes when it is removed.

    Solves H s = ∇ℓ(z_test) by METHOD and writes influence/METHOD.csv and METHOD.json. Methods: exact
    (Cholesky factor of H), cg (conjugate gradient), lissa (stochastic recursion, the paper's settings),
    lissa_auto (the same, tuning itself), grad_dot (H replaced by the identity: the baseline that shows why
    H matters).

    [bold]Examples[/]

    repro influence --method lissa

    repro influence --method cg 'influence.test_index=[8,33]'

    repro influence --method lissa influence.repeats=1 influence.seed=3

    repro influence --method exact --gpus 4
    """
    config = compose_methods(_with_gpus(overrides, gpus), [method] if method else [])[0]
    from cli.stages.influence import influence as stage

    stage(config)


@app.command(epilog=EPILOG)
@_reports_errors
def retrain(overrides: Overrides = None, gpus: Gpus = None) -> None:
    """Retrain without each point that the computed methods selected, to ‖∇R₋ᵢ‖ ≤ 1e-9, with a certificate.

    retrain.points=random (retrain.num_random of them), all or a list takes other points; these need no
    predictions. All models are solved together. Finished batches are written at once into retrain/weights:
    after a kill the same command does only the rest, and nothing is ever retrained twice.

    [bold]Examples[/]

    repro retrain

    repro retrain --gpus 4

    repro retrain retrain.points=random retrain.num_random=500

    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:29400 -m cli retrain
    """
    config = compose(_with_gpus(overrides, gpus))
    from cli.stages.retrain import retrain as stage

    stage(config)


@app.command(epilog=EPILOG)
@_reports_errors
def plot(overrides: Overrides = None) -> None:
    """Scatter predicted against actual change, one panel a method, and print how well they agree.

    Writes leave_one_out.csv, summary.json and, as .png and .pdf in plots/: leave_one_out (the scatter),
    errors (beside certificates) and for images gallery_TEST (the training images that help and harm most).

    [bold]Examples[/]

    repro plot

    repro plot plot.limits=0.05 influence.top_k=200

    repro plot plot=paper

    repro plot retrain.points=all 'influence.test_index=[8,33,46]'
    """
    config = compose(_list(overrides))
    from cli.stages.plot import plot as stage

    stage(config)


@app.command("ground-truth", epilog=EPILOG)
@_reports_errors
def ground_truth(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write; its name ends in .csv or .parquet")
    ],
    overrides: Overrides = None,
    test_index: Annotated[
        list[int] | None,
        typer.Option(
            "--test-index",
            "-t",
            help="Test point; may be given several times. Short for influence.test_index=[…]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export the actual changes of any test point, with certificates, for every point left out so far.

    Nothing is retrained: a stored leave-one-out model answers for every test point. One row for each test
    point and training point, with the columns test_index, train_index, actual_change, certificate.

    [bold]Examples[/]

    repro ground-truth --test-index 8 --test-index 46 --out truth.parquet

    repro ground-truth data=digits --out truth.csv
    """
    config = compose([*_list(overrides), *([f"influence.test_index={test_index}"] if test_index else [])])
    if out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--out {out}: expected a name that ends in .csv or .parquet")
    from cli.stages.ground_truth import export_ground_truth

    export_ground_truth(config, out)


@app.command(epilog=EPILOG)
@_reports_errors
def diagnose(overrides: Overrides = None, method: Method = None) -> None:
    """Say whether the figure of this configuration can be trusted, and if not, why not and what to do.

    Trains if need be; checks convergence, curvature, LiSSA's settings, signal against noise, conventions.
    Writes diagnosis.json and plots/spectrum.png; exits 1 when a check fails.

    [bold]Examples[/]

    repro diagnose data=digits

    repro diagnose experiment=report
    """
    config = compose_methods(_list(overrides), [method] if method else [])[0]
    from cli.stages.diagnose import diagnose as stage

    stage(config)


@app.command(epilog=EPILOG)
@_reports_errors
def compare(overrides: Overrides = None) -> None:
    """Solve for s_test by every method at several settings: error, agreement, seconds, what to use.

    Trains if need be; all start from the same θ̂ and explain the same test point, and the exact solution
    judges them. Writes compare.csv and plots/compare.png and .pdf. What runs is compare.settings.

    [bold]Examples[/]

    repro compare

    repro compare data=digits

    repro compare 'compare.settings=[cg,lissa,"lissa depth=20000","lissa scale=50 depth=10000"]'
    """
    config = compose(_list(overrides))
    from cli.stages.compare import compare as stage

    stage(config)


@app.command()
@_reports_errors
def check(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as outputs/mnist-logistic-3f2a91c0")],
    data_root: Annotated[
        str | None, typer.Option("--data-root", help="Where the data lie, if elsewhere than for the run")
    ] = None,
) -> None:
    """Verify a finished run: does everything in it follow from the data and the stored weights?

    Checksums; θ̂ on the data; gradients of all leave-one-out models, recomputed by plain formulas; the table
    from the weights; the predictions; the summary from the table. Changes nothing; exits 1 if anything fails.

    [bold]Examples[/]

    repro check outputs/demo

    repro check outputs/figure --data-root ~/data
    """
    from cli.stages.check import check as stage

    stage(folder, data_root)


@app.command()
@_reports_errors
def clean(
    folder: Annotated[Path, typer.Argument(help="A run folder, such as outputs/mnist-logistic-3f2a91c0")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """List what a run folder holds, by size, and remove the caches that no table needs, asking first.

    What can go: weights of points that are in no table, or of another θ̂, and files that were set aside. What
    `ground-truth` could say of those points is then to be retrained.

    [bold]Examples[/]

    repro clean outputs/demo

    repro clean outputs/demo --yes
    """
    from cli.stages.clean import clean as stage

    stage(folder, lambda question: yes or typer.confirm(question, default=False))


@app.command(epilog=EPILOG)
@_reports_errors
def run(overrides: Overrides = None, method: Methods = None, gpus: Gpus = None) -> None:
    """The four stages in order, skipping what is already done.

    [bold]Examples[/]

    repro run data=digits --method cg

    repro run --method exact --method cg --method lissa --method grad_dot

    repro run --method cg model.l2=0.1 'influence.test_index=[8,33,46]'
    """
    configs = compose_methods(_with_gpus(overrides, gpus), list(method or []))
    from cli.stages.run import run as stage

    stage(configs)


@app.command(epilog=EPILOG)
@_reports_errors
def sweep(
    overrides: Overrides = None,
    method: Methods = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the sweep; its runs lie in it, one folder each")
    ] = Path("outputs/sweep"),
) -> None:
    """Run every combination of KEY=a,b,c …, then join the results: sweep.csv, and r and slope as a figure.

    Hydra's multirun does the running: its sweeper, and the launcher that hydra/launcher=… names (basic, or an
    installed plugin: joblib, submitit_slurm, …). Runs with the same θ̂ share it and its retrained models. The
    same command goes on where a sweep was interrupted.

    [bold]Examples[/]

    repro sweep data=digits --method cg model.l2=0.001,0.01,0.1

    repro sweep --method cg --method lissa data.num_train=1000,5000,20000 --out outputs/against-n

    repro sweep --method lissa influence.depth=1000,5000,20000 influence.seed=0,1,2 hydra/launcher=joblib
    """
    from cli.stages.sweep import sweep as stage

    stage(_list(overrides), list(method or []) or [compose([]).method], out)


@app.command(epilog=EPILOG)
@_reports_errors
def config(
    overrides: Overrides = None,
    method: Method = None,
    show_groups: Annotated[
        bool, typer.Option("--groups", help="Print what can be chosen in each group instead.")
    ] = False,
) -> None:
    """Print the composed configuration.

    [bold]Examples[/]

    repro config

    repro config --groups

    repro config --method cg data=digits model.l2=0.1
    """
    if show_groups:
        for group, names in groups().items():
            say(f"{group}={'|'.join(names)}")
        return
    from omegaconf import OmegaConf

    composed = compose_methods(_list(overrides), [method] if method else [])[0]
    say(OmegaConf.to_yaml(OmegaConf.create(composed.values)).rstrip())


def _list(overrides: list[str] | None) -> list[str]:
    return list(overrides or [])


def _with_gpus(overrides: list[str] | None, gpus: int | None) -> list[str]:
    return _list(overrides) + ([] if gpus is None else [f"retrain.gpus={gpus}"])


def main() -> None:
    """The console script `repro`."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _terminate(number: int, frame: object) -> None:
    raise TerminatedError
