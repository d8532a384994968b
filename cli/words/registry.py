"""Who says which result.

Results are known by the names of their classes, so that `repro train` imports no stage but its own.
"""

from collections.abc import Callable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

Words = Callable[[Any], None]
WORDS: dict[str, Words] = {}
"""By the name of the class of what is said."""


def words(function: Words) -> Words:
    """Let this say what its argument is annotated with."""
    WORDS[function.__annotations__["found"]] = function
    return function


def say_result(found: object) -> None:
    """Say what a stage has found.

    Raises:
        TypeError: nothing here knows how.
    """
    name = type(found).__name__
    if name not in WORDS:
        raise TypeError(f"no words for a {name}")
    WORDS[name](found)


def result_table(title: str | None = None) -> Table:
    """A table of results, as all look."""
    return Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, title=title)
