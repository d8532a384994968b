"""Text that a file brings along, made safe to show: nothing in it commands a terminal or hides."""

import unicodedata
from typing import Any

IN_ITS_PLACE = "\N{REPLACEMENT CHARACTER}"
HIDING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control and format (which turn the direction of text), lone surrogates, line breaks."""


def printable(text: str, keep: str = "") -> str:
    """The text with � in the place of every character that does something other than be seen.

    Args:
        text: as it was stored.
        keep: characters that may stay, such as the line feed of a message that has several lines.
    """
    if text.isprintable():
        return text
    return "".join(IN_ITS_PLACE if c not in keep and unicodedata.category(c) in HIDING else c for c in text)


def printable_strings(value: Any) -> Any:
    """The same containers with every string, keys too, printable."""
    if isinstance(value, dict):
        return {printable_strings(key): printable_strings(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [printable_strings(entry) for entry in value]
    return printable(value) if isinstance(value, str) else value
