"""The page on groups of training rows as one HTML text, of the same parts as that on single points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from diagnosis.figure import measures
from diagnosis.limits import CRITERIA
from diagnosis.verdict import Verdict
from report.content import Making, Method, OtherTable
from report.group_points import GroupFigureData
from report.page import as_json, asset, environment, one_function

SCRIPTS = ("page.js", "groups.js")


@dataclass(frozen=True, kw_only=True)
class GroupTestPoint:
    """One test point: what the methods say of the groups' effects on it."""

    index: int
    label: str
    holds: bool | None
    """Whether the figure can be believed; None where it cannot be told."""
    summary: str
    methods: Sequence[Method]
    truth: tuple[Verdict, ...]


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
class GroupPage:
    """All that the page says, in words, numbers and pictures."""

    data: str
    model: str
    selection: str
    """How the groups were chosen, in words."""
    example_noun: str
    test_points: Sequence[GroupTestPoint]
    scores: Sequence[DatamodelingScore]
    """Of `repro lds`; none where it was not run."""
    certified: Sequence[str]
    """A sentence for each method that certifies its predictions itself."""
    figure: GroupFigureData
    images: Mapping[int, str]
    """Pictures of the members that the cards show; empty for data that are no images."""
    other: OtherTable | None
    local: bool
    """Whether certificates have a condition."""
    table_checksum: str
    """SHA-256 of groups.csv."""
    printed_figure: str
    """Predicted against actual changes, as a `data:` address."""
    printed_sizes: str | None
    """Agreement by size; None where groups have one size."""
    making: Making


def render_groups(page: GroupPage) -> str:
    """The page. What it says is escaped, whatever a label, a path or a method is called."""
    return (
        environment()
        .get_template("groups.html.jinja")
        .render(
            page=page,
            criteria=CRITERIA,
            unit="groups",
            measures=measures([method.verdict for method in page.test_points[0].methods]),
            styles=Markup(asset("page.css")),
            script=one_function(SCRIPTS),
            plotly=Markup(get_plotlyjs()),
            figure=as_json(vars(page.figure) | {"images": page.images, "noun": page.example_noun}),
        )
    )
