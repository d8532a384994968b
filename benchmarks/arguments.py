"""What a benchmark is called with: nothing, or where its figures go; `--help` says what it measures."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path


def read_arguments(about: str | None, words: Sequence[str], *, target: str | None = None) -> Path | None:
    """The file or folder for the figures; None where none is named. Ends the program on `--help`.

    Args:
        about: the docstring of the benchmark.
        words: the command line, after the name of the program.
        target: what the one argument is called, which may be left out; None: there is no argument.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    if target is not None:
        parser.add_argument("target", metavar=target, type=Path, nargs="?")
    return getattr(parser.parse_args(words), "target", None)


def asks_for_quick(about: str | None, words: Sequence[str]) -> bool:
    """Whether `--quick` is given, to a benchmark that knows it. Ends the program on `--help`.

    Args:
        about: the docstring of the benchmark.
        words: the command line, after the name of the program.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a share of the work, on fewer examples")
    return bool(parser.parse_args(words).quick)
