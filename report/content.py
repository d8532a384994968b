"""What the page says, ready to be put into the template: words, numbers and pictures, no computation left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnosis.predictions import MethodVerdict
from diagnosis.verdict import Verdict
from report.group_points import GroupFigureData
from report.points import FigureData


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method's row."""

    title: str
    """Its name in the figure."""
    verdict: MethodVerdict
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """A training example in the gallery."""

    train_index: int
    label: str
    actual_change: float
    certificate: float
    image: str | None
    """A picture as a `data:` address; None for data that are no images."""
    features: tuple[float, ...] = ()
    """Values of the features that the gallery's table shows, for data that are no images."""


@dataclass(frozen=True, kw_only=True)
class JudgedPoint:
    """One test point, and what the methods say of it."""

    index: int
    label: str
    holds: bool | None
    """Whether the figure can be believed; None where it cannot be told."""
    summary: str
    methods: Sequence[Method]
    truth: tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class TestPoint(JudgedPoint):
    """The same, what the model makes of it, and who matters for it."""

    predicted: str
    probabilities: tuple[tuple[str, float], ...]
    """The most probable classes, largest first."""
    loss: float
    image: str | None
    feature_names: tuple[str, ...]
    """Columns of the gallery's table, for data that are no images."""
    features: tuple[float, ...]
    num_ranked: int
    """Training points that were left out, among which the gallery ranks."""
    helpful: Sequence[Example]
    harmful: Sequence[Example]


@dataclass(frozen=True, kw_only=True)
class JudgedScores:
    """Scores of another tool for one test point."""

    name: str
    file: str
    test_index: int
    verdict: MethodVerdict
    lds: float | None
    """The linear datamodeling score; None where there are no models of halves."""
    fault_names: tuple[str, ...]
    faults: tuple[str, ...]
    """What is wrong and what to do about it, one sentence each."""
    too_few_points: bool
    """Whether it is for want of points that nothing is."""
    mended: str
    """Figures before and after that; empty where nothing is wrong."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the run, as a row of the table of how it was made."""

    name: str
    seconds: float | None
    work: str
    """Passes over the data, or products with H."""
    ended: str


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How an iteration went."""

    title: str
    label: str
    """What the values are."""
    step: str
    """What the steps are."""
    lines: Mapping[str, Sequence[tuple[float, float | None]]]
    """(step, value) by name; None where a value overflowed."""
    description: str
    """The picture in words."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """How the run was made, and how to make it again."""

    commands: Sequence[str]
    caveat: str
    """What the commands may not tell; empty where they tell all."""
    stages: Sequence[Stage]
    traces: Sequence[Trace]
    facts: Mapping[str, str]
    checksums: Mapping[str, str]
    configuration: str
    """YAML."""


@dataclass(frozen=True, kw_only=True)
class OtherTable:
    """Results of the other kind that the folder has, of points or of groups, and this page does not show."""

    what: str
    file: str
    command: str
    """The line that makes the page of them."""


@dataclass(frozen=True, kw_only=True)
class AxisLimits:
    """Half-widths of the figure's axes to choose from beside that of the data."""

    paper: float
    configured: float | None
    """None where it is the paper's."""


@dataclass(frozen=True, kw_only=True)
class DatamodelingScore:
    """How well a method orders the models of a test point, with the interval that certificates leave."""

    method: str
    target: str
    """The test point, or mean."""
    value: float
    lowest: float
    highest: float


@dataclass(frozen=True, kw_only=True)
class AnyPage:
    """What both pages say."""

    data: str
    """The data set in words."""
    model: str
    selection: str
    """How the training points, or the groups, were chosen, in words."""
    example_noun: str
    """What one example is called: image or example."""
    images: Mapping[int, str]
    """Pictures of the training examples that the figure draws, or cards show; empty for data that are no
    images."""
    other: OtherTable | None
    local: bool
    """Whether certificates have a condition: see `retrain/local_certificate.py`."""
    table_checksum: str
    """SHA-256 of the table that the page shows, so that it can be told whether the page is of this table."""
    printed_figure: str
    """The figure for paper, as a `data:` address."""
    making: Making


@dataclass(frozen=True, kw_only=True)
class Page(AnyPage):
    """The page on single points."""

    test_points: Sequence[TestPoint]
    judged: Sequence[JudgedScores]
    """Files of scores that `repro score` has judged."""
    figure: FigureData
    limits: AxisLimits


@dataclass(frozen=True, kw_only=True)
class GroupPage(AnyPage):
    """The page on groups."""

    test_points: Sequence[JudgedPoint]
    scores: Sequence[DatamodelingScore]
    """Of `repro lds`; none where it was not run."""
    certified: Sequence[str]
    """A sentence for each method that certifies its predictions itself."""
    figure: GroupFigureData
    printed_sizes: str | None
    """Agreement by size, as a `data:` address; None where groups have one size."""
