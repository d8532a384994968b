"""Who says which result.

Results are known by the names of their classes, so that `repro train` imports no stage but its own.
"""

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from cli.console import say

EVENT = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Where the words of a class's name meet."""
Words = Callable[[Any], None]
WORDS: dict[str, Words] = {}
"""By the name of the class of what is said."""


def words(function: Words) -> Words:
    """Let this say what its argument is annotated with."""
    WORDS[function.__annotations__["found"]] = function
    return function


def say_result(found: object) -> None:
    """Say what a stage has found: in its own words, or field by field where nobody has written any.

    Raises:
        TypeError: it is neither known here nor a dataclass.
    """
    WORDS.get(type(found).__name__, _say_fields)(found)


def _say_fields(found: Any) -> None:
    """A line for each field of a record: its name and its value."""
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    width = max(map(len, values), default=0)
    lines = [f"{name.replace('_', ' '):<{width}}  {value}" for name, value in values.items()]
    say("\n".join(lines), EVENT.sub("_", type(found).__name__).lower(), **values)
