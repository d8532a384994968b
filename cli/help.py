"""How help is laid out: prose fills its lines, and command lines can be copied off any screen."""

import copy
import re
from typing import Any

import typer.core
from rich.console import Console
from rich.markup import escape

INDENT = "    "
"""What a command line in a help text starts with; every other line is prose."""
WORD = re.compile(r"(?:'[^']*'|[^\s'])+")
MARGIN = 2
"""Columns that stay empty at the sides."""


def laid_out(text: str, width: int) -> str:
    """A help text as markup for Rich, which wraps the prose.

    Args:
        text: paragraphs with an empty line between them. Lines that start with `INDENT` are command lines.
        width: columns. A command line that is longer goes on in the next line, as in a shell, after a
            backslash.
    """
    return "\n\n".join(_paragraph(part.splitlines(), width) for part in text.split("\n\n"))


def _paragraph(lines: list[str], width: int) -> str:
    if not all(line.startswith(INDENT) for line in lines):
        return escape(" ".join(line.strip() for line in lines))
    # The spaces stand inside the markup: Typer takes away what it sees at the start of every line.
    shown = [part for line in lines for part in folded(line, width)]
    return "\n".join(f"[bold]{escape(part)}[/]" for part in shown)


def folded(line: str, width: int) -> list[str]:
    """A command line, indented, in as many lines as it takes; broken only between the words of a shell."""
    parts = [INDENT[:2]]
    for word in WORD.findall(line):
        if parts[-1].strip() and len(parts[-1]) + len(word) + len(" \\") > width:
            parts[-1] += "\\"
            parts.append(INDENT)
        parts[-1] += f"{word} "
    return [part.rstrip() for part in parts]


class _Helpful:
    """A command or group of Typer's, whose help is laid out here."""

    help: str | None

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters. The name of a flag says all, and so does the name of an argument: no types."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
            if parameter.param_type_name == "argument":
                # What Typer shows beside the name; earlier versions never ask.
                parameter.display_type_rich = _no_type
        return parameters

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print it, for the terminal as wide as it is."""
        shown = copy.copy(self)
        shown.help = laid_out(self.help or "", Console().width - MARGIN)
        super(_Helpful, shown).format_help(ctx, formatter)  # type: ignore[misc]


def _no_type(ctx: Any) -> str:
    return ""


class HelpfulCommand(_Helpful, typer.core.TyperCommand):
    """A command."""


class HelpfulGroup(_Helpful, typer.core.TyperGroup):
    """All commands."""
