"""Values in the grammar of Hydra's overrides, so that each is read as what it is."""

import re
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
KEYWORDS = ("null", "true", "false", "nan", "inf")
INTERPOLATION = re.compile(r"(\\*)\$\{")
"""Would be resolved, in quotes too, unless a backslash stands before it."""


def override(key: str, value: Any) -> str:
    """KEY=VALUE that gives a key this value."""
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{','.join(f'{_written(key)}:{_written(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, str) and not (PLAIN.fullmatch(value) and value.lower() not in KEYWORDS):
        return QuotedString(INTERPOLATION.sub(r"\1\1\\${", value), Quote.single).with_quotes()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
