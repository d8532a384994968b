"""The page as one HTML text: template, styles, scripts and data in one, nothing fetched when it is opened."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from diagnosis.figure import measures
from diagnosis.limits import CRITERIA
from plots.numbers import format_number, format_signed
from report.content import GroupPage, Page

SCRIPTS = ("page.js", "points.js", "figure.js", "card.js", "table.js", "traces.js", "start.js")
"""In the order in which they are read; together they are one function."""
GROUP_SCRIPTS = ("page.js", "groups.js")


def render(page: Page) -> str:
    """The page on single points. What it says is escaped, whatever a label, a path or a method is called."""
    return _rendered(
        page,
        SCRIPTS,
        {"limits": page.limits},
        unit="points",
        judged_measures=measures([one.verdict for one in page.judged]),
        judged_lds=any(one.lds is not None for one in page.judged),
    )


def render_groups(page: GroupPage) -> str:
    """The page on groups, escaped too."""
    return _rendered(page, GROUP_SCRIPTS, {}, unit="groups")


def _rendered(
    page: Page | GroupPage, scripts: Sequence[str], beside: Mapping[str, object], **words: object
) -> str:
    """The template of the unit, with what both pages have, the words given, and the data of the figure."""
    figure = vars(page.figure) | {"images": page.images, "noun": page.example_noun, **beside}
    template = _environment().get_template(f"{words['unit']}.html.jinja")
    return template.render(
        page=page,
        criteria=CRITERIA,
        measures=measures([method.verdict for method in page.test_points[0].methods]),
        styles=Markup(_asset("page.css")),
        script=_one_function(scripts),
        plotly=Markup(get_plotlyjs()),
        figure=as_json(figure),
        traces=as_json(page.making.traces),
        **words,
    )


def _environment() -> Environment:
    """What renders a page's template: all that is not said to be safe is escaped."""
    found = Environment(
        loader=PackageLoader("report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["number"] = format_number
    found.filters["hash"] = _content_hash
    found.filters["signed"] = format_signed
    return found


def _one_function(names: Sequence[str]) -> Markup:
    """A page's own scripts as one function, so that nothing of them is global."""
    parts = "\n".join(_asset(name) for name in names)
    return Markup(f'(() => {{\n"use strict";\n{parts}\n}})();')


def _content_hash(script: str) -> str:
    """What a content security policy knows an inline script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _asset(name: str) -> str:
    """A style sheet or script."""
    return (files("report") / "assets" / name).read_text(encoding="utf-8")


def as_json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in; records as objects."""
    text = json.dumps(value, default=asdict, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
