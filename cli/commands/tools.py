"""The tools around the figure: can it be trusted, what else is there to know, what lies in a folder."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli.command import command
from cli.composing import compose, session_of
from cli.console import say
from cli.options import Method, Methods, Overrides, option
from repro.configuration.files import groups
from repro.errors import StageError


@command
def diagnose(overrides: Overrides = None, method: Method = None) -> None:
    """Say whether the figure of this configuration can be trusted, and if not, why not and what to do.

    Trains and retrains if need be; checks convergence, curvature, LiSSA's settings, signal against noise, and
    the predictions of every method computed so far and of the one named. The report page has the same limits.
    Writes diagnosis.json and plots/spectrum.png; exits 1 when a check fails. A baseline condemns nothing.
    Of groups it judges what was predicted and retrained, by the same limits.

    Examples:

        repro diagnose data=digits
        repro diagnose data=digits --method cg
        repro diagnose experiment=report
    """
    config = compose(overrides, method)
    session = session_of(config)
    from repro.stages.diagnose import diagnose as stage

    found = stage(session, asked=bool(method) or config.names_method)
    if found.trusted is False:
        say(found.what_to_change)
        raise StageError(found.conclusion)
    say(found.conclusion)


@command
def compare(overrides: Overrides = None) -> None:
    """Solve for s_test by every method at several settings: error, agreement, seconds, what to use.

    Trains if need be; all start from the same θ̂ and explain the same test point, and the exact solution
    judges them. Writes compare.csv and plots/compare.png and .pdf. What runs is the list
    compare.settings; each item is a method, and KEY=VALUE for each of its settings that is to be another.
    Where groups were retrained, their certified changes judge too, also methods without s_test.

    Examples:

        repro compare
        repro compare data=digits
        repro compare 'compare.settings=[cg,"lissa depth=20000"]'
    """
    session = session_of(compose(overrides))
    from repro.stages.compare import compare as stage

    stage(session)


@command
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A run folder, such as outputs/mnist-logistic-3f2a91c0")
    ],
    data_root: Annotated[
        str | None,
        option("--data-root ROOT", "Where the data lie now, if elsewhere: a folder, for data=npz the file"),
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
        raise StageError(found.conclusion)
    say(found.conclusion)


@command
def sweep(
    overrides: Overrides = None,
    method: Methods = None,
    out: Annotated[
        Path | None,
        option(
            "--out -o FOLDER",
            "Folder of the sweep; its runs lie in it, one folder each. "
            "Default: outputs/sweep-HASH, of this command line",
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
    from repro.sweep.choices import choices_of

    choices = choices_of(list(overrides or []), method or [compose([]).method], out)
    from cli.terminal import Terminal
    from repro.sweep.sweep import sweep as stage

    stage(choices, out, Terminal())


@partial(command, quiet=False, opens_folder=False)
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

    values = compose(overrides, method).values
    text = OmegaConf.to_yaml(OmegaConf.create(values)).rstrip()
    say(text, "configuration", always=True, values=values)
