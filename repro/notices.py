"""What a stage has to say beside its result: lines on the logger `repro`, for whoever listens to it.

The terminal shows them as it shows results (`cli/console.py`); in Python they obey `logging` as usual.
"""

import logging
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger("repro")


def warn(line: str) -> None:
    """Something that the user should know, though the work goes on."""
    LOGGER.warning(line)


def note(line: str, event: str = "message", **numbers: Any) -> None:
    """What was done, or need not be done.

    Args:
        line: for people.
        event: what a program knows it by.
        **numbers: what the line says, for a program.
    """
    LOGGER.info(line, extra={"event": event, "numbers": numbers})


def note_wrote(*files: Path) -> None:
    """Which files there are now."""
    *others, last = map(str, files)
    note(f"wrote {', '.join(others)} and {last}" if others else f"wrote {last}", "wrote", files=list(files))
