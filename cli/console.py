"""What a person or a program sees: results on stdout, warnings, errors and progress on stderr.

How it is said is one setting of a process and of every process that it starts: the environment variable
`REPRO_OUTPUT` holds "quiet", "json", both or neither. The options --quiet and --log-json set it for the
length of a command, so that ranks, and the runs of a sweep, obey too: they inherit it.

- neither: lines and tables for people, on a terminal in colour.
- quiet: no result lines and no progress; warnings, errors, failed checks and questions remain.
- json: every line is an object with "event", "time" (ISO 8601, UTC) and the numbers by name.
- both: the lines that quiet leaves, as objects.
"""

import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, JustifyMethod, OverflowMethod
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from erm.files import without_non_finite
from repro.printable import printable

OUTPUT = "REPRO_OUTPUT"
SPEAKING = ("repro", "erm")
"""Packages whose logs are said."""


class PlainConsole(Console):
    """Shows text as it is: no markup or emoji codes are read in it, and no character in it does anything.

    Names and messages may come from files. What they hold beside characters to be seen and line breaks would
    move the cursor, set the title of the window, or turn the direction of the line: � stands for it.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, soft_wrap=True, markup=False, emoji=False, **settings)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments, those that are text made printable; control segments are the console's own."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, keep="\n\t"), style)


out = PlainConsole()
err = PlainConsole(stderr=True)


@contextmanager
def speaking(*, quiet: bool, log_json: bool) -> Iterator[None]:
    """Speak so in the block, here and in the processes that it starts, besides what was set before."""
    before = os.environ.get(OUTPUT)
    words = {*(before or "").split(), *(["quiet"] if quiet else []), *(["json"] if log_json else [])}
    os.environ[OUTPUT] = " ".join(sorted(words))
    try:
        with warnings.catch_warnings():
            if is_json():
                warnings.showwarning = lambda message, *_, **__: warn(str(message))
            with _logged_lines_said():
                yield
    finally:
        del os.environ[OUTPUT]
        if before is not None:
            os.environ[OUTPUT] = before


@contextmanager
def _logged_lines_said() -> Iterator[None]:
    """Say in the block what the packages below, which know no console, write to their logs."""
    loggers = [logging.getLogger(name) for name in SPEAKING]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        others = [handler for handler in logger.handlers if not isinstance(handler, _Saying)]
        logger.handlers, logger.propagate = [*others, _Saying()], False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


class _Saying(logging.Handler):
    """Says every line that is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.ERROR:
            complain(line)
        elif record.levelno >= logging.WARNING:
            warn(line)
        else:
            say(line, getattr(record, "event", "message"), **getattr(record, "numbers", {}))


def is_quiet() -> bool:
    return "quiet" in os.environ.get(OUTPUT, "").split()


def is_json() -> bool:
    return "json" in os.environ.get(OUTPUT, "").split()


def say(line: str | Text, event: str = "message", *, always: bool = False, **numbers: Any) -> None:
    """A result.

    Args:
        line: for people; one line or a few.
        event: what a program knows it by.
        always: whether it is said in quiet too: what was asked for and nothing else, or what failed.
        **numbers: what the line says, for a program.
    """
    if is_quiet() and not always:
        return
    if is_json():
        emit(sys.stdout, event, {"message": str(line)} | numbers)
    else:
        out.print(line, markup=False)


def show(
    name: str,
    columns: Mapping[str, tuple[str, str]],
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str | None = None,
    fold: Collection[str] = (),
    objects: Sequence[Mapping[str, Any]] | None = None,
    **numbers: Any,
) -> None:
    """A table of results.

    Args:
        name: what a program knows it by.
        columns: by heading, the key of a row and the format of its numbers; no format for words, at the left.
        rows: for people.
        title: for people.
        fold: headings of what may be broken where the terminal is narrow.
        objects: the rows for a program, where it is given others.
        **numbers: for a program, what holds for all rows.
    """
    if is_quiet():
        return
    if is_json():
        given = rows if objects is None else objects
        emit(sys.stdout, "table", {"name": name} | numbers | {"rows": list(given)})
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title=title)
    for heading, (_, form) in columns.items():
        justify: JustifyMethod = "right" if form else "left"
        # What is cut off ends in …, so that no part of a number passes for the whole.
        breaks = heading in fold
        overflow: OverflowMethod = "fold" if breaks else "ellipsis"
        table.add_column(heading, justify=justify, overflow=overflow, no_wrap=not breaks)
    for row in rows:
        table.add_row(*(_cell(row[key], form) for key, form in columns.values()))
    out.print(table)


def _cell(value: Any, form: str) -> str:
    if isinstance(value, str) or not form:
        return str(value)
    return "undefined" if math.isnan(value) else format(value, form)


def warn(line: str) -> None:
    """One line of warning."""
    if is_json():
        emit(sys.stderr, "warning", {"message": line})
    else:
        err.print(f"warning: {line}", style="yellow", markup=False)


def complain(line: str, exit_code: int | None = None) -> None:
    """Why the command failed, and the exit code it ends with if it ends here."""
    if is_json():
        emit(sys.stderr, "error", {"message": line, "exit_code": exit_code})
    else:
        err.print(f"error: {line}", style="red", markup=False)


def emit(stream: TextIO, event: str, content: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own. NaN and the infinities, which JSON lacks, become null."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"event": event, "time": moment} | without_non_finite(dict(content))
    # One write per line, because several processes may share the stream.
    stream.write(json.dumps(line, default=_plain, allow_nan=False) + "\n")
    stream.flush()


def _plain(value: Any) -> Any:
    """A path as text; a number of numpy as Python's."""
    return without_non_finite(value.item()) if hasattr(value, "item") else str(value)
