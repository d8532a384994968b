"""Options and arguments that several commands take."""

from typing import Annotated, Any

import typer

from repro.configuration.files import CONFIG_FOLDER


def option(words: str, text: str, **more: Any) -> Any:
    """An option that takes a value.

    Args:
        words: its names, and what stands for the value in help, such as "--method -m METHOD".
        text: its help.
        **more: as `typer.Option` has it.
    """
    *names, metavar = words.split()
    return typer.Option(*names, metavar=metavar, help=text, **more)


def _method(more: str = "") -> Any:
    shipped = ", ".join(sorted(path.stem for path in (CONFIG_FOLDER / "influence").glob("*.yaml")))
    text = f"How s_test is computed: {shipped}, or one of your own; `repro config --groups` lists all.{more}"
    return option("--method -m METHOD", text, show_default="lissa")


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FOLDER|KEY=VALUE",
        help="A run folder, whose configuration is read there; and overrides of the configuration, such as "
        "data=digits model.l2=0.1 top_k=200",
    ),
]
Gpus = Annotated[
    int | None,
    option(
        "--gpus N",
        "Processes, one per GPU; on a machine without GPUs, N on the CPU. 0: one process on the CPU. "
        "Default: one GPU if there is any. Short for retrain.gpus=N",
        min=0,
    ),
]
Method = Annotated[str | None, _method()]
Methods = Annotated[list[str] | None, _method(" May be given several times.")]
TrustCode = Annotated[
    list[str] | None,
    option(
        "--trust-code MODULE",
        "Let a run folder's files name what this module of yours defines; may be given several times. "
        "Without it they may name only what this tool ships, or what you name yourself.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        help="No progress and no result lines: only warnings, errors, failed checks and questions.",
    ),
]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Every line a JSON object: results on stdout, progress, warnings and errors on stderr.",
    ),
]
