"""JSON that this tool has written, maybe in a stranger's folder: read back by its types, null as NaN."""

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from repro.printable import printable_strings

T = TypeVar("T")


def read_content(path: Path) -> Any:
    """What a file says, in plain containers.

    Raises:
        OSError: it is not there.
        ValueError, RecursionError: it is no JSON.
    """
    return printable_strings(json.loads(path.read_text(encoding="utf-8"), object_hook=_with_nan))


def _with_nan(content: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in content.items()}


def of_form(kind: TypeAdapter[T], content: object, name: str) -> T:
    """The record that content of a file of this name is.

    Raises:
        TypeError: it is of another form; one line says where.
    """
    try:
        # From JSON, where strict means that no text and no truth value passes for a number.
        return kind.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise TypeError(f"{name} is not of the form that this tool writes: {where}: {wrong['msg']}") from None
