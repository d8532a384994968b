"""summary.json: how well each method agrees with the actual changes, and how well these are known."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from plots.agreement import Agreement
from repro.folder.manifest import write_json_result
from repro.folder.paths import RunFolder
from repro.records.basins import Basins
from repro.records.json_form import of_form, read_content


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """One method's row for one test point."""

    agreement: Agreement
    seconds: float

    def as_json(self) -> dict[str, float]:
        return asdict(self.agreement) | {"seconds": self.seconds}


@dataclass(frozen=True, kw_only=True)
class PointSummary:
    """What is known of one test point."""

    methods: dict[str, MethodSummary]
    max_certificate: float
    null_control: float
    """The actual change that is found when nothing is removed."""
    null_control_certificate: float
    basins: Basins | None = None
    """Where certificates are local."""

    @property
    def known(self) -> dict[str, Any]:
        """How well the actual changes are known, in numbers."""
        names = ("max_certificate", "null_control", "null_control_certificate")
        return {name: getattr(self, name) for name in names}

    @property
    def truth(self) -> str:
        """How well they are known, in words."""
        if math.isinf(self.max_certificate):
            none = "no certificates: training went on, to no minimum"
            return f"{none}; with nothing removed that changes the loss by {self.null_control:.1e}"
        return (
            f"largest {'' if self.basins is None else 'local '}certificate {self.max_certificate:.1e}; null "
            f"control {self.null_control:.1e} (certificate {self.null_control_certificate:.1e})"
        )

    def as_json(self) -> dict[str, object]:
        local = {} if self.basins is None else {"local_certificates": asdict(self.basins)}
        return (
            local | {"methods": {name: found.as_json() for name, found in self.methods.items()}} | self.known
        )


_POINT = TypeAdapter(PointSummary)

Summary = dict[int, PointSummary]
"""By test point, in the order in which they were asked for."""


def write_summary(
    folder: RunFolder, summary: Summary, path: Path | None = None, **facts: str | list[str]
) -> None:
    """Write summary.json, or another file of this form.

    `facts` are further keys of it. The first test point's stands at the top level, and all under
    "test_points" if there are several.
    """
    points = {str(target): point.as_json() for target, point in summary.items()}
    first = next(iter(points.values())) | facts
    write_json_result(
        folder, path or folder.summary, first | ({"test_points": points} if len(points) > 1 else {})
    )


def read_summary(folder: RunFolder, targets: list[int], path: Path | None = None) -> Summary:
    """summary.json, or another file of this form, maybe a stranger's; what it has as null is NaN.

    Args:
        targets: the test points of its table.
        path: the file, if not summary.json.

    Raises:
        OSError: it is not there.
        ValueError, LookupError, TypeError, AttributeError: it is not of the form that this tool writes.
    """
    path = path or folder.summary
    content = read_content(path)
    points = content.get("test_points", {str(targets[0]): content})
    return {int(target): _point(point, path.name) for target, point in points.items()}


def _point(content: dict[str, Any], name: str) -> PointSummary:
    methods = {
        method: {"agreement": found, "seconds": found["seconds"]}
        for method, found in content["methods"].items()
    }
    return of_form(_POINT, content | {"methods": methods, "basins": content.get("local_certificates")}, name)
