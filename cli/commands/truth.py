"""The truth as a product: exported with its model, and held against predictions and scores."""

from pathlib import Path
from typing import Annotated

import typer

from cli.command import command
from cli.composing import compose, compose_methods, session_of
from cli.options import Gpus, Methods, Overrides, option


@command
def ground_truth(
    out: Annotated[
        Path,
        option("--out -o FILE", "A .csv, .parquet, .npz or .safetensors file; with --format dattri a folder"),
    ],
    overrides: Overrides = None,
    test_index: Annotated[
        list[int] | None,
        option("--test-index -t INDEX", "Test point; may be given several times. Short for test_index."),
    ] = None,
    layout: Annotated[
        str,
        option(
            "--format TOOL", "dattri: the folders loo and lds of its benchmarks; auto: by the file's name"
        ),
    ] = "auto",
) -> None:
    """Export the actual changes of any test point, with certificates, for every point left out so far.

    Nothing is retrained: a stored leave-one-out model answers for every test point. One row for each test
    point and training point, with the columns test_index, train_index, actual_change, certificate.

    Examples:

        repro ground-truth --test-index 8 --test-index 46 --out truth.parquet
        repro ground-truth data=digits --out truth.csv
        repro ground-truth data=digits --format dattri --out truth
    """
    session = session_of(compose([*(overrides or []), *([f"test_index={test_index}"] if test_index else [])]))
    from repro.stages.ground_truth import export_ground_truth

    export_ground_truth(session, out, layout)


@command
def export_model(
    out: Annotated[
        Path,
        option("--out -o FILE", "File to write; its name ends in .pt or .safetensors"),
    ],
    overrides: Overrides = None,
) -> None:
    """Export θ̂ as the state dict of a torch module, so that any library explains the very same model.

    Softmax regression is a torch.nn.Linear(features, classes): weight, and bias where the model has one, in
    float64. A module of your own has its own names.

    Examples:

        repro export-model data=digits --out linear.pt
        repro export-model outputs/demo --out linear.safetensors
    """
    session = session_of(compose(overrides))
    from repro.stages.export_model import export_model as stage

    stage(session, out)


@command
def lds(
    overrides: Overrides = None,
    method: Methods = None,
    gpus: Gpus = None,
    sgd_seeds: Annotated[
        int,
        option("--sgd-seeds N", "Train every model by SGD N times too; score by those losses beside", min=0),
    ] = 0,
) -> None:
    """Score methods by how well they order models of random halves: Spearman's r, with a proven interval.

    Runs what is missing, as `repro run` does: removals.count models that keep a random removals.keep of the
    training points each. A method predicts the loss of each, and r compares the order with that of the actual
    losses. The interval is how far r can move when every actual loss moves within its certificate. Writes
    lds.json, and what `repro plot` writes.

    Examples:

        repro lds data=digits --method cg
        repro lds data=digits --method cg --sgd-seeds 3
        repro lds --method cg --method grad_dot removals.count=100 'test_index=[8,33,46]'
    """
    words = list(overrides or [])
    # A run folder, given in place of overrides, has removals of its own.
    if not any("=" not in text or text.lstrip("+").startswith("removals=") for text in words):
        words = ["removals=halves", *words]
    configs = compose_methods(words, method, gpus)
    session = session_of(configs[0])
    from repro.stages.lds import lds as stage

    stage(session, configs, sgd_seeds)


@command
def score(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="What another tool wrote: scores of every training point"),
    ],
    against: Annotated[
        Path | None,
        option(
            "--against TRUTH",
            "A run folder, or a file of repro ground-truth. Default: the run folder of --into, or that "
            "of the default configuration",
        ),
    ] = None,
    layout: Annotated[
        str,
        option(
            "--format TOOL",
            "Whose layout the files have: dattri, trak, bergson, captum, kronfluence, pydvl, quanda, "
            "plain; auto: as the file says itself",
        ),
    ] = "auto",
    into: Annotated[
        Path | None,
        option("--into FOLDER", "A run folder in which the scores become a method like any other"),
    ] = None,
) -> None:
    """Judge the scores of another tool by actual changes, and name what is wrong with them.

    A score is the change of a test loss when a training point is removed, −I_up,loss/n: a row for each test
    point, a column for each training point. Reads .npy, .npz, .csv, .parquet, .json, .safetensors, .pt and
    the folders of bergson, quanda, kronfluence and pyDVL (Zarr), by what is in them; executes nothing. Every
    figure stands with how far the certificates of the truth let it move. Writes score.json, score.csv and a
    figure into the run folder, or beside the file; repro report shows them. Exits 0 whatever the scores are
    worth.

    Examples:

        repro score scores.npy --against outputs/demo
        repro score scores.npy --against truth.parquet
        repro score first.npy second.npy --into outputs/demo
    """
    from cli.terminal import Terminal
    from repro.stages.score import score_files

    score_files(files, against, layout, into, Terminal())
