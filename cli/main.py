"""The program. Torch is imported by the stage that needs it, so help and usage errors answer at once."""

import inspect
import signal
from typing import Annotated

import typer

from cli.command import COMMANDS, Commands
from cli.commands import figure, tools, truth  # noqa: F401, whose commands these are
from cli.console import say
from cli.help import HelpfulCommand
from repro.errors import TerminatedError

EPILOG = "Any key of the configuration can follow as KEY=VALUE; `repro config` prints them all."

app = typer.Typer(
    name="repro",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Reproduce, certify and explain Figure 2 of Koh & Liang (ICML 2017): how well do influence
    functions predict the change of a test loss when one training point is removed?

    Four stages, each reading what the one before wrote into the run folder:

        repro train
        repro influence --method lissa
        repro retrain --gpus 4
        repro plot

    Or all of them, and then a page of it:

        repro run --method exact --method lissa
        repro report

    A first try that needs no download and takes seconds:

        repro run data=digits --method cg
    """,
    epilog=EPILOG,
)

for function in COMMANDS:
    takes_overrides = "overrides" in inspect.signature(function).parameters
    app.command(cls=HelpfulCommand, epilog=EPILOG if takes_overrides else None)(function)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"repro {version('leave-one-out-reproducer')}", always=True)
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """What the console script `repro` runs."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except TerminatedError:
        # Told to end while the command line was still being read: no command has said so.
        raise SystemExit(143) from None


def _terminate(number: int, frame: object) -> None:
    raise TerminatedError
