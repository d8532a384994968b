"""Which test points the runs of a sweep explain: the same in all, or a curve through them says nothing."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from repro.configuration.compose import Config
from repro.configuration.grammar import override
from repro.errors import StageError, UsageError
from repro.problem import load_dataset
from repro.session import Session
from repro.stages.train import train_unless_done
from repro.sweep.choices import KEY


@dataclass(frozen=True, kw_only=True)
class CommonPoints:
    """The test points of all runs of a sweep."""

    test_index: tuple[int, ...]
    misclassified_by: str = ""
    """The run whose first misclassified test point it is, in words; empty where the user named the points."""

    @property
    def override(self) -> str:
        """What every run is given."""
        return override(KEY, self.test_index[0] if len(self.test_index) == 1 else self.test_index)

    @property
    def description(self) -> str:
        """A sentence without its full stop, for the terminal and for the figure."""
        plural = "" if len(self.test_index) == 1 else "s"
        why = f", the first that {self.misclassified_by} misclassifies" if self.misclassified_by else ""
        return f"All runs explain test point{plural} {', '.join(map(str, self.test_index))}{why}"


def first_misclassified(runs: Sequence[str], session_of: Callable[[int], Session]) -> CommonPoints:
    """The first test point that the first run misclassifies, for all runs; θ̂ of that run is trained for it.

    A run whose θ̂ cannot be had, or that misclassifies nothing, leaves the choice to the next one.

    Args:
        runs: what each run is called, in words.
        session_of: a session of the run of this number, its folder included.

    Raises:
        StageError, UsageError: no run has such a point; what the last one said.
    """
    problem: StageError | UsageError | None = None
    for number, name in enumerate(runs):
        try:
            return CommonPoints(test_index=(_misclassified(session_of(number)),), misclassified_by=name)
        except (StageError, UsageError) as error:
            problem = error
    assert problem is not None
    raise problem


def _misclassified(session: Session) -> int:
    train_unless_done(session)
    return session.targets(session.model())[0]


def check_same_examples(points: CommonPoints, configs: dict[str, Config]) -> None:
    """Refuse runs whose data have another example at the number of a test point.

    Args:
        points: of all runs.
        configs: one run for each choice of the data, by what was chosen.

    Raises:
        UsageError: an example differs, or there are fewer examples.
    """
    seen = {name: _examples(config, points.test_index) for name, config in configs.items()}
    for (one, theirs), (other, ours) in itertools.pairwise(seen.items()):
        for index, (x, y), (other_x, other_y) in zip(points.test_index, theirs, ours, strict=True):
            if y != other_y or not np.array_equal(x, other_x):
                raise UsageError(
                    f"test point {index} is another example with {other} than with {one}, so the runs cannot "
                    "be joined in one table. Sweep over one data set at a time, each with its own --out"
                )


def _examples(config: Config, indices: Sequence[int]) -> list[tuple[np.ndarray, int]]:
    """Features and label of test points."""
    dataset = load_dataset(config)
    if max(indices) >= len(dataset.y_test):
        raise UsageError(
            f"test point {max(indices)}: {' '.join(config.overrides)} has {len(dataset.y_test)} test points"
        )
    return [(dataset.x_test[index].copy(), int(dataset.y_test[index])) for index in indices]
