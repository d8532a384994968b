"""Kinds of removals that take several rows each: random groups, halves, those of a file, those of a study.

As `retrain/removal_kinds.py`, and besides each may have parameters for these:

- `labels`: of the n training examples.
- `features`: of these, float64, as the data set has them.
- `gradient_factors`: x and p − y of these at θ̂, whose outer products are the gradients of their losses.
- `influences`: I_up,loss of a method for all test points (t × n), where all of them have the same groups.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from erm.settings import Count, Seed
from retrain.clusters import GradientFactors, clusters, gradients
from retrain.removal import Removal, removal

Share = Annotated[float, Field(gt=0, lt=1)]
Sizes = Annotated[list[Share], Field(min_length=1, description="shares of the rows that a group takes")]
PerSize = Annotated[Count, Field(description="groups of each size")]
GroupSeed = Annotated[Seed, Field(description="of what is drawn")]
Subsets = Annotated[Count, Field(description="models")]
Keep = Annotated[Share, Field(description="share of the rows that each model keeps")]
GroupFile = Annotated[
    str, Field(min_length=1, description=".json, a list of lists of rows, or .npy, a row each")
]
Smallest = Annotated[Share, Field(description="share of the rows in the smallest groups")]
Largest = Annotated[Share, Field(description="share of the rows in the largest groups")]
NumSizes = Annotated[Count, Field(description="sizes from smallest to largest, evenly spaced")]
Most = Annotated[Count, Field(description="groups at the most")]

TAIL = 1.5
"""Tail groups are drawn from so many times the rows of the largest one (Koh et al. 2019, section 4)."""
TAIL_ENDS = (0.1, 0.4, 1.0)
"""A third of the tail groups goes up to each of these shares of the largest size: 2.5, 10 and 25 %."""


def makes_groups(kind: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a kind whose removals may have several rows; any other may only take single rows."""
    kind.makes_groups = True  # type: ignore[attr-defined]
    return kind


def judged_by(judge: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function judge the settings of a kind that needs predictions before these are made.

    Args:
        judge: raises ValueError; of the kind's parameters it may have `num_examples` and the settings.
    """

    def mark(kind: Callable[..., Any]) -> Callable[..., Any]:
        kind.judge = judge  # type: ignore[attr-defined]
        return kind

    return mark


@makes_groups
def random_groups(*, num_examples: int, sizes: Sizes, count: PerSize, seed: GroupSeed) -> list[Removal]:
    """`count` groups of each size, each drawn uniformly without replacement.

    Raises:
        ValueError: a size rounds to no row or to all.
    """
    generator = np.random.default_rng(seed)
    return [
        _drawn(generator, np.arange(num_examples), _rows_of(share, num_examples, "removals.sizes"))
        for share in sizes
        for _ in range(count)
    ]


@makes_groups
def halves(*, num_examples: int, count: Subsets, keep: Keep, seed: GroupSeed) -> list[Removal]:
    """What `count` models leave out that keep a random share of the rows each.

    Linear datamodeling scores are judged on such models (Park et al. 2023, "TRAK", section 4).

    Raises:
        ValueError: a model would keep no row or all.
    """
    left_out = num_examples - _rows_of(keep, num_examples, "removals.keep")
    generator = np.random.default_rng(seed)
    return [_drawn(generator, np.arange(num_examples), left_out) for _ in range(count)]


@makes_groups
def groups_of_file(*, num_examples: int, path: GroupFile) -> list[Removal]:
    """The groups that a file lists, in its order.

    Raises:
        ValueError: it cannot be read, is no list of lists of rows, or names a group twice; a list is empty,
            names a row twice or one that is not there, or leaves nothing.
    """
    found = [
        _as_removal(rows, num_examples, f"removals.path={path}: list {place}")
        for place, rows in enumerate(_row_lists(Path(path).expanduser()))
    ]
    seen: dict[Removal, int] = {}
    for place, rows in enumerate(found):
        if rows in seen:
            raise ValueError(f"removals.path={path}: lists {seen[rows]} and {place} name the same rows")
        seen[rows] = place
    return found


def _study_range(*, num_examples: int, smallest: float, largest: float) -> tuple[int, int]:
    """Rows of the smallest and the largest groups; ValueError where they are none."""
    if smallest > largest:
        raise ValueError(f"removals.smallest={smallest} is above removals.largest={largest}")
    first = _rows_of(smallest, num_examples, "removals.smallest")
    return first, _rows_of(largest, num_examples, "removals.largest")


@makes_groups
@judged_by(_study_range)
def study_groups(
    *,
    num_examples: int,
    labels: Int[np.ndarray, " n"],
    features: Float[np.ndarray, "n features"],
    gradient_factors: GradientFactors,
    influences: Float[np.ndarray, "t n"],
    smallest: Smallest,
    largest: Largest,
    num_sizes: NumSizes,
    per_size: PerSize,
    most: Most,
    seed: GroupSeed,
) -> list[Removal]:
    """Groups as Koh et al. (2019) chose them, of `num_sizes` sizes evenly from `smallest` to `largest`.

    Of each size `per_size` each of: random rows; rows of one class, of one cluster of the features and of one
    of the gradients, by k-means or hierarchical, where one is as large; and rows next to each other in the
    order of one feature. For each test point rows of large positive and of large negative influence, drawn
    from the tails: a third of these groups up to a tenth of `largest`, a third up to 0.4 of it. Where there
    are more than `most`, so many are drawn.

    Raises:
        ValueError: a size rounds to no row, or `smallest` is above `largest`.
    """
    first, last = _study_range(num_examples=num_examples, smallest=smallest, largest=largest)
    generator = np.random.default_rng(seed)
    clustered = (features, gradients(gradient_factors, seed))
    pools = [
        [np.arange(num_examples)],
        [np.flatnonzero(labels == label) for label in np.unique(labels)],
        *([np.array(rows) for rows in clusters(points, seed)] for points in clustered),
    ]
    found: list[Removal] = []
    for size in _even_sizes(first, last, num_sizes) * per_size:
        for kind in pools:
            if large := [rows for rows in kind if len(rows) >= size]:
                found.append(_drawn(generator, large[generator.integers(len(large))], size))
        found.append(_window(generator, features, size))
    for order in np.argsort(influences, axis=1, kind="stable"):
        for size, tail in _tail_sizes(first, last, num_sizes) * per_size:
            found += [_drawn(generator, part, size) for part in (order[-tail:], order[:tail])]
    whole = list(dict.fromkeys(rows for rows in found if _leaves_every_class(rows, labels)))
    if len(whole) <= most:
        return whole
    chosen = generator.choice(len(whole), size=most, replace=False)
    return [whole[place] for place in sorted(chosen.tolist())]


def _even_sizes(first: int, last: int, count: int) -> list[int]:
    sizes: list[int] = np.linspace(first, last, count).round().astype(int).tolist()
    return sizes


def _tail_sizes(first: int, last: int, count: int) -> list[tuple[int, int]]:
    """The sizes of a test point's groups, and of how many rows at the end of the order each is drawn."""
    third = count // 3
    ends = [max(first, round(share * last)) for share in TAIL_ENDS]
    return [
        (size, round(TAIL * end))
        for end, number in zip(ends, (third, third, count - 2 * third), strict=True)
        for size in _even_sizes(first, end, number)
    ]


def _window(generator: np.random.Generator, features: Float[np.ndarray, "n features"], size: int) -> Removal:
    """Rows next to each other in the order of a feature, about a row; both are drawn."""
    order = np.argsort(features[:, generator.integers(features.shape[1])], kind="stable")
    start = int(np.clip(generator.integers(len(order)) - size // 2, 0, len(order) - size))
    return tuple(sorted(order[start : start + size].tolist()))


def _as_removal(rows: list[int], num_examples: int, where: str) -> Removal:
    if not rows:
        raise ValueError(f"{where} is empty; expected at least one training row")
    try:
        return removal(rows, num_examples)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _rows_of(share: float, num_examples: int, key: str) -> int:
    """A share as a number of rows; ValueError where it is none of them or all."""
    rows = round(share * num_examples)
    if not 1 <= rows < num_examples:
        raise ValueError(
            f"{key}={share:g} is {rows} of the {num_examples} training rows; expected 1 … {num_examples - 1}"
        )
    return rows


def _drawn(generator: np.random.Generator, pool: Int[np.ndarray, " m"], size: int) -> Removal:
    return tuple(sorted(generator.choice(pool, size=size, replace=False).tolist()))


def _leaves_every_class(rows: Removal, labels: Int[np.ndarray, " n"]) -> bool:
    kept = np.bincount(labels) - np.bincount(labels[list(rows)], minlength=int(labels.max()) + 1)
    return bool((kept[np.bincount(labels) > 0] > 0).all())


def _row_lists(path: Path) -> list[list[int]]:
    """What the file lists; ValueError where that is no list of lists of whole numbers."""
    expected = "expected a list of lists of training rows, such as [[3, 8], [5]]"
    try:
        if path.suffix == ".npy":
            content = np.load(path, allow_pickle=False).tolist()
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"removals.path={path}: cannot be read ({error}); {expected}") from error
    if not isinstance(content, list) or not content or not all(isinstance(rows, list) for rows in content):
        raise ValueError(f"removals.path={path}: {expected}")
    for place, rows in enumerate(content):
        if not all(isinstance(row, int) and not isinstance(row, bool) for row in rows):
            raise ValueError(f"removals.path={path}: list {place} holds what is no row; {expected}")
    return content
