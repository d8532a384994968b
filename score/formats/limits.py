"""What is refused: a file that claims more than it may hold, is damaged, or executes code."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from score.predicted import ScoresError

MAX_NUMBERS = 2**29
"""Scores of one file: 55,000 training points for 9,700 test points, 4 GiB in float64."""


def check_shape(shape: Sequence[int]) -> None:
    """Refuse more dimensions than two, and more numbers than memory should be asked for.

    Raises:
        ScoresError: naming what the file claims.
    """
    claimed = " × ".join(f"{length:,}" for length in shape)
    if not 1 <= len(shape) <= 2 or any(length < 0 for length in shape):
        raise ScoresError(f"holds an array of shape ({claimed}); expected a vector or a matrix")
    if math.prod(shape) > MAX_NUMBERS:
        raise ScoresError(
            f"claims {claimed} scores; more than {MAX_NUMBERS:,} in one file are not read. Split it by "
            "test point"
        )


def check_size(path: Path) -> None:
    """Refuse a file that is read as a whole and longer than all scores could be."""
    if path.stat().st_size > 8 * MAX_NUMBERS:
        raise ScoresError(f"is {path.stat().st_size / 2**30:.0f} GiB long; at most 4 GiB are read")


@contextmanager
def refused(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Say on one line what is wrong with a file whose reading ends in one of the errors.

    Raises:
        ScoresError: `what`, and the error's own words.
    """
    try:
        yield
    except (ScoresError, FileNotFoundError):
        raise
    except errors as error:
        words = " ".join(str(error).split())[:100]
        raise ScoresError(f"{what} ({type(error).__name__}: {words})") from error


def needs_code(what: str, path: Path, read: str) -> ScoresError:
    """The refusal of a file that only runs when code in it does, with the line that converts it."""
    line = f"import numpy; numpy.save('{path.stem}.npy', numpy.asarray({read}))"
    return ScoresError(
        f"{what}, which executes code when it is read; nothing of it was. If you trust who wrote it, convert "
        f'it: python -c "{line}"'
    )
