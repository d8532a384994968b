"""Options and arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from repro.configuration.files import CONFIG_FOLDER

METHODS = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "influence").glob("*.yaml")))
OWN = "or one of your own; `repro config --groups` lists all"

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FOLDER|KEY=VALUE",
        help="A run folder, whose configuration is read there; and overrides of the configuration, such as "
        "data=digits model.l2=0.1 top_k=200",
        show_default=False,
    ),
]
Gpus = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        metavar="N",
        min=0,
        help="Processes, one per GPU; on a machine without GPUs, N on the CPU. 0: one process on the CPU. "
        "Default: one GPU if there is any. Short for retrain.gpus=N",
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        metavar="METHOD",
        help=f"How s_test is computed: {METHODS}, {OWN}.",
        show_default="lissa",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        metavar="METHOD",
        help=f"How s_test is computed: {METHODS}, {OWN}. May be given several times.",
        show_default="lissa",
    ),
]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A run folder, such as outputs/mnist-logistic-3f2a91c0")
]
TrustCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-code",
        metavar="MODULE",
        help="Let a run folder's files name what this module of yours defines; may be given several times. "
        "Without it they may name only what this tool ships, or what you name yourself.",
        show_default=False,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        help="No progress and no result lines: only warnings, errors, failed checks and questions.",
        show_default=False,
    ),
]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Every line a JSON object: results on stdout, progress, warnings and errors on stderr.",
        show_default=False,
    ),
]


def as_list(overrides: list[str] | None) -> list[str]:
    """Overrides as typed."""
    return list(overrides or [])


def with_gpus(overrides: list[str] | None, gpus: int | None) -> list[str]:
    """The overrides, and what --gpus is short for."""
    return as_list(overrides) + ([] if gpus is None else [f"retrain.gpus={gpus}"])
