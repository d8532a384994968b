"""The page on groups of training rows as one HTML text, of the same parts as that on single points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from plots.agreement import Agreement
from report.page import as_json, asset, environment, one_function

SCRIPTS = ("page.js", "groups.js")


@dataclass(frozen=True, kw_only=True)
class GroupMethod:
    """One method's row for one test point."""

    name: str
    agreement: Agreement
    seconds: float


@dataclass(frozen=True, kw_only=True)
class GroupTestPoint:
    """One test point: its picture, and what the methods say of the groups' effects on it."""

    index: int
    label: str
    image: str | None
    methods: Sequence[GroupMethod]
    max_certificate: float
    null_control: float


@dataclass(frozen=True, kw_only=True)
class GroupPage:
    """All that the page says, in words, numbers and pictures."""

    data: str
    model: str
    selection: str
    """How the groups were chosen, in words."""
    example_noun: str
    test_points: Sequence[GroupTestPoint]
    figure: dict[str, Any]
    """The interactive figure's data, of `report.group_points`."""
    table_checksum: str
    """SHA-256 of groups.csv."""
    printed_figure: str
    """Predicted against actual changes, as a `data:` address."""
    printed_sizes: str | None
    """Agreement by size; None where groups have one size."""
    commands: Sequence[str]
    facts: Mapping[str, str]


def render_groups(page: GroupPage) -> str:
    """The page. What it says is escaped, whatever a label, a path or a method is called."""
    return (
        environment()
        .get_template("groups.html.jinja")
        .render(
            page=page,
            styles=Markup(asset("page.css")),
            script=one_function(SCRIPTS),
            plotly=Markup(get_plotlyjs()),
            figure=as_json(page.figure),
        )
    )
