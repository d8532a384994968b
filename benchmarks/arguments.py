"""What a benchmark is called with: nothing, or where its figures go; `--help` says what it measures."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
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


def read_parts(about: str | None, words: Sequence[str], parts: Mapping[str, str]) -> tuple[bool, list[str]]:
    """Whether `--quick` is given, and which parts, or all, to a benchmark of several tables.

    Args:
        about: the docstring of the benchmark.
        words: the command line, after the name of the program.
        parts: its parts, and what each is.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a share of the work, on fewer examples")
    parser.add_argument("--part", action="append", choices=list(parts), help="this one; may be repeated")
    found = parser.parse_args(words)
    return bool(found.quick), list(found.part or parts)
