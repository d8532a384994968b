"""Panels of other runs in the figure of a run: joined in their own folders, drawn beside this one's."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plots.agreement import Agreement
from repro.agreement import JoinedChanges, join_changes
from repro.configuration.beside import runs_beside
from repro.departures import method_titles
from repro.errors import StageError
from repro.session import Session


@dataclass(frozen=True)
class Panels:
    """What the scatter shows."""

    table: pd.DataFrame
    """The columns of leave_one_out.csv; a method of another run has a name of its own."""
    agreements: dict[tuple[str, int], Agreement]
    titles: dict[str, str]
    beside: tuple[Path, ...] = ()
    """Run folders of the others."""


def sessions_beside(session: Session, *, before_work: bool = False) -> list[Session]:
    """Sessions of the runs that `plot.beside` names.

    Args:
        session: of this run.
        before_work: whether θ̂ may be missing, so that its first misclassified test point is not known yet.

    Raises:
        UsageError: what is named is no configuration, or that of this very run.
    """
    if not session.config["plot"]["beside"]:
        return []
    asked = session.config["test_index"] == "misclassified" and not before_work
    targets = session.targets(session.model()) if asked else None
    return [session.under(config) for config in runs_beside(session.config, targets)]


def with_panels_beside(session: Session, joined: JoinedChanges) -> Panels:
    """The panels of a run, and of those beside it.

    Raises:
        StageError: a stage of another run is missing.
    """
    panels = Panels(joined.table, joined.agreements, method_titles(session.config, joined.predictions))
    tables = dict[Path, list[pd.DataFrame]]()
    for other in sessions_beside(session):
        with other.opened():
            theirs = join_changes(other)
        # Runs of one θ̂ share a folder: there a method has one panel for each truth that is asked for.
        known = tables.setdefault(other.folder.path, [])
        place = next((at for at, table in enumerate(known) if table.equals(theirs.table)), len(known))
        if place == len(known):
            known.append(theirs.table)
        name = f"{other.folder.path.name}{f' {place + 1}' if place else ''}"
        panels = _added(panels, other, theirs, list(joined.summary), name)
    return panels


def _added(panels: Panels, other: Session, theirs: JoinedChanges, targets: list[int], name: str) -> Panels:
    """The panels of another run, at the places of the same test points; a single one may be another's."""
    places = {target: target for target in theirs.summary if target in targets}
    if not places and len(targets) == len(theirs.summary) == 1:
        places = dict(zip(theirs.summary, targets, strict=True))
    if not places:
        raise StageError(f"{other.folder.path} has none of the test points {', '.join(map(str, targets))}")
    note = "".join(f", test point {own}" for own, place in places.items() if own != place)
    titles = method_titles(other.config, theirs.predictions)
    names = {method: f"{name}/{method}" for method in titles}
    table = theirs.table[theirs.table["test_index"].isin(list(places))]
    table = table.assign(method=table["method"].map(names), test_index=table["test_index"].map(places))
    named = {names[method]: f"{title}{note}" for method, title in titles.items()}
    # A panel that is there already keeps its title, but for the method that this run is there for.
    own = {name: named[name] for name in named if name == names.get(other.config.method)}
    return Panels(
        pd.concat([panels.table, table]).drop_duplicates(ignore_index=True),
        panels.agreements
        | {
            (names[method], places[target]): found
            for (method, target), found in theirs.agreements.items()
            if target in places
        },
        named | panels.titles | own,
        tuple(dict.fromkeys((*panels.beside, other.folder.path))),
    )
