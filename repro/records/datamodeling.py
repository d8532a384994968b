"""lds.json: linear datamodeling scores, as later commands read them."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from plots.rank_interval import RankCorrelation
from repro.folder.paths import RunFolder
from repro.records.json_form import of_form, read_content


@dataclass(frozen=True, kw_only=True)
class RecordedScores:
    """Of one method."""

    mean: RankCorrelation
    test_points: dict[str, RankCorrelation]

    @property
    def every(self) -> dict[str, RankCorrelation]:
        """By test point, and the mean where there are several."""
        return self.test_points | ({"mean": self.mean} if len(self.test_points) > 1 else {})


@dataclass(frozen=True, kw_only=True)
class RecordedDatamodeling:
    """What `repro lds` has found, but for the scores by losses of SGD."""

    models: int
    max_certificate: float
    methods: dict[str, RecordedScores]
    sgd_seeds: int = 0
    """Trainings by SGD of each model, by whose losses there are scores too; 0 where there are none."""


_RECORD = TypeAdapter(RecordedDatamodeling)


def read_datamodeling(folder: RunFolder) -> RecordedDatamodeling | None:
    """The file, maybe a stranger's; None where there is none.

    Raises:
        OSError, ValueError, RecursionError, TypeError: it cannot be read, or is of another form.
    """
    if not folder.datamodeling.exists():
        return None
    return of_form(_RECORD, read_content(folder.datamodeling), folder.datamodeling.name)
