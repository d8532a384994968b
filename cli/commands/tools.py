"""The tools around the figure: can it be trusted, what else is there to know, what lies in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from cli.command import command
from cli.composing import compose, compose_methods
from cli.console import say
from cli.options import Folder, Gpus, Method, Methods, Overrides, as_list, with_gpus
from repro.configuration.files import groups
from repro.errors import StageError

REMEDY = "`repro run` with the same configuration sets aside what is damaged and makes it again"


@command
def diagnose(overrides: Overrides = None, method: Method = None) -> None:
    """Say whether the figure of this configuration can be trusted, and if not, why not and what to do.

    Trains and retrains if need be; checks convergence, curvature, LiSSA's settings, signal against noise, and
    the predictions of every method computed so far and of the one named. The report page has the same limits.
    Writes diagnosis.json and plots/spectrum.png; exits 1 when a check fails. A baseline condemns nothing.

    Examples:

        repro diagnose data=digits
        repro diagnose data=digits --method cg
        repro diagnose experiment=report
    """
    config = compose_methods(as_list(overrides), [method] if method else [])[0]
    from cli.terminal import session_of
    from repro.stages.diagnose import diagnose as stage

    found = stage(session_of(config), asked=bool(method) or config.names_method)
    counted = [verdict for verdict in found.verdicts if verdict.counts]
    failed = sum(verdict.passed is False for verdict in counted)
    if failed:
        repair = found.repair and f"The smallest change that repairs the figure: {found.repair}"
        say(repair or "What to change stands beside each check.")
        raise StageError(
            f"{failed} of {len(counted)} checks failed: this configuration's figure cannot be trusted"
        )
    if found.trusted:
        say("The figure can be trusted.")
        return
    undecided = ", ".join(verdict.check for verdict in counted if verdict.passed is None)
    say(
        f"No check failed, but {undecided or 'everything'} stayed undecided: the figure is neither confirmed "
        "nor refuted."
    )


@command
def compare(overrides: Overrides = None) -> None:
    """Solve for s_test by every method at several settings: error, agreement, seconds, what to use.

    Trains if need be; all start from the same θ̂ and explain the same test point, and the exact solution
    judges them. Writes compare.csv and plots/compare.png and .pdf. What runs is the list
    compare.settings; each item is a method, and KEY=VALUE for each of its settings that is to be another.

    Examples:

        repro compare
        repro compare data=digits
        repro compare 'compare.settings=[cg,"lissa depth=20000"]'
    """
    config = compose(as_list(overrides))
    from cli.terminal import session_of
    from repro.stages.compare import compare as stage

    stage(session_of(config))


@command
def ground_truth(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="File to write; its name ends in .csv, .parquet, .npz or .safetensors",
        ),
    ],
    overrides: Overrides = None,
    test_index: Annotated[
        list[int] | None,
        typer.Option(
            "--test-index",
            "-t",
            metavar="INDEX",
            help="Test point; may be given several times. Short for test_index.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export the actual changes of any test point, with certificates, for every point left out so far.

    Nothing is retrained: a stored leave-one-out model answers for every test point. One row for each test
    point and training point, with the columns test_index, train_index, actual_change, certificate.

    Examples:

        repro ground-truth --test-index 8 --test-index 46 --out truth.parquet
        repro ground-truth data=digits --out truth.csv
    """
    config = compose([*as_list(overrides), *([f"test_index={test_index}"] if test_index else [])])
    from cli.terminal import session_of
    from repro.stages.ground_truth import export_ground_truth

    export_ground_truth(session_of(config), out)


@command
def lds(overrides: Overrides = None, method: Methods = None, gpus: Gpus = None) -> None:
    """Score methods by how well they order models of random halves: Spearman's r, with a proven interval.

    Runs what is missing, as `repro run` does: removals.count models that keep a random removals.keep of the
    training points each. A method predicts the loss of each, and r compares the order with that of the actual
    losses. The interval is how far r can move when every actual loss moves within its certificate. Writes
    lds.json, and what `repro plot` writes.

    Examples:

        repro lds data=digits --method cg
        repro lds --method cg --method grad_dot removals.count=100 'test_index=[8,33,46]'
    """
    overrides = with_gpus(overrides, gpus)
    named = any(text.lstrip("+").startswith("removals=") for text in overrides)
    # A run folder, given in place of overrides, has its own.
    if not named and all("=" in text for text in overrides):
        overrides = ["removals=halves", *overrides]
    configs = compose_methods(overrides, list(method or []))
    from cli.terminal import session_of
    from repro.stages.lds import lds as stage

    stage(session_of(configs[0]), configs)


@command
def score(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="What another tool wrote: scores of every training point"),
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="TRUTH",
            help="A run folder, or a file of repro ground-truth. Default: the run folder of --into, or that "
            "of the default configuration",
            show_default=False,
        ),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="TOOL",
            help="Whose layout the files have: dattri, trak, bergson, captum, kronfluence, pydvl, quanda, "
            "plain; auto: as the file says itself",
        ),
    ] = "auto",
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="FOLDER",
            help="A run folder in which the scores become a method like any other",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Judge the scores of another tool by actual changes, and name what is wrong with them.

    A score is the change of a test loss when a training point is removed, −I_up,loss/n: a row for each test
    point, a column for each training point. Reads .npy, .npz, .csv, .parquet, .json, .safetensors, .pt and
    the folders of bergson and quanda, by what is in them; executes nothing. Every figure stands with how far
    the certificates of the truth let it move. Writes score.json and a figure into the run folder, or beside
    the file. Exits 0 whatever the scores are worth.

    Examples:

        repro score scores.npy --against outputs/demo
        repro score scores.npy --against truth.parquet
        repro score first.npy second.npy --into outputs/demo
    """
    from cli.terminal import Terminal
    from repro.folder.naming import run_folder
    from repro.stages.score import score_files

    truth = against or into or run_folder(compose([])).path
    score_files(files, truth, layout, into, Terminal())


@command
def check(
    folder: Folder,
    data_root: Annotated[
        str | None,
        typer.Option(
            "--data-root",
            metavar="ROOT",
            help="Where the data lie, if elsewhere than for the run: a folder, for data=npz the file",
        ),
    ] = None,
) -> None:
    """Verify a finished run: does everything in it follow from the data and the stored weights?

    Checksums; θ̂ on the data; gradients of all leave-one-out models, recomputed by plain formulas; the table
    from the weights; the predictions; the summary from the table. Changes nothing; exits 1 if anything fails.

    Examples:

        repro check outputs/demo
        repro check outputs/figure --data-root ~/data
    """
    from cli.terminal import Terminal
    from repro.stages.check import check as stage

    found = stage(folder, data_root, Terminal())
    if found.failed:
        raise StageError(f"{found.failed} of {len(found.verdicts)} checks failed. {REMEDY}")
    if found.unchecked:
        unchecked = ", ".join(found.unchecked)
        say(f"What {folder} holds follows from the data as far as it goes; not checked: {unchecked}.")
        return
    say(f"Everything in {folder} follows from the data and the stored weights.")


@command
def sweep(
    overrides: Overrides = None,
    method: Methods = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder of the sweep; its runs lie in it, one folder each. "
            "Default: outputs/sweep-HASH, of this command line",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run every combination of KEY=a,b,c …, then join the results: sweep.csv, and r and slope as a figure.

    Hydra's multirun does the running: its sweeper, and the launcher that hydra/launcher=… names (basic, or an
    installed plugin: joblib, submitit_slurm, …). All runs explain the same test points: misclassified is the
    first that the first run misclassifies. Runs with the same θ̂ share it and its retrained models. The same
    command goes on where a sweep was interrupted.

    Examples:

        repro sweep data=digits --method cg model.l2=0.001,0.01,0.1
        repro sweep --method cg --method lissa data.num_train=1000,5000,20000 --out outputs/against-n
        repro sweep --method lissa influence.depth=1000,5000,20000 influence.seed=0,1,2
    """
    from cli.terminal import Terminal
    from repro.sweep.sweep import sweep as stage

    stage(as_list(overrides), list(method or []) or [compose([]).method], out, Terminal())


@command(quiet=False, opens_folder=False)
def config(
    overrides: Overrides = None,
    method: Method = None,
    show_groups: Annotated[
        bool, typer.Option("--groups", help="Print what can be chosen in each group instead.")
    ] = False,
) -> None:
    """Print the composed configuration.

    Examples:

        repro config
        repro config --groups
        repro config --method cg data=digits model.l2=0.1
    """
    if show_groups:
        choices = groups()
        lines = (f"{group}={'|'.join(names)}" for group, names in choices.items())
        say("\n".join(lines), "groups", always=True, groups=choices)
        return
    from omegaconf import OmegaConf

    composed = compose_methods(as_list(overrides), [method] if method else [])[0]
    text = OmegaConf.to_yaml(OmegaConf.create(composed.values)).rstrip()
    say(text, "configuration", always=True, values=composed.values)
