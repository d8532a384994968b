"""`repro plot`: join predicted and actual changes, write the table and its summary, draw the figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plots.errors import draw_errors
from plots.groups import draw_agreement_by_size, draw_groups, several_sizes
from repro.agreement import JoinedChanges, join_changes
from repro.configuration.compose import Config
from repro.configuration.shortest import shortest_overrides
from repro.departures import method_titles
from repro.drawing.figures import configured_style, remove_figure, remove_galleries, scatter, write_figure
from repro.folder.checked_files import shows_another_table
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.group_agreement import JoinedGroups, join_groups
from repro.notices import warn
from repro.panels_beside import with_panels_beside
from repro.records.group_rows import write_removals
from repro.records.summary import write_summary
from repro.selection import describe_groups, makes_groups
from repro.session import Session


@dataclass(frozen=True, kw_only=True)
class Plotted:
    """The tables of results, of points or of groups, and the files that show them."""

    joined: JoinedChanges | JoinedGroups
    folder: RunFolder
    tables: list[Path]
    figures: list[Path]
    beside: tuple[Path, ...] = ()
    """Run folders of the panels that `plot.beside` names."""


def plot(session: Session, with_page: bool = False) -> Plotted:
    """Write tables, summary and figures: of single points, or of groups where `removals` makes these.

    Unless the report's page is written next, one of another table is named as old.

    Raises:
        StageError: an earlier stage is missing.
    """
    with session.opened() as folder:
        found = (_plot_groups if makes_groups(session.config) else _plot_points)(session, folder)
        session.listener.result(found)
        if not with_page and shows_another_table(folder):
            warn(f"{folder.report} is old: it shows another table. Anew: {session.command('report')}")
        return found


def _plot_points(session: Session, folder: RunFolder) -> Plotted:
    """`leave_one_out.csv`, `summary.json` and the figures."""
    joined = join_changes(session)
    table, config = joined.table, session.config
    panels = with_panels_beside(session, joined)
    write_result(folder, folder.table, lambda path: table.to_csv(path, index=False))
    write_summary(folder, joined.summary)
    session.remember()
    titles = method_titles(config, joined.predictions)
    remove_galleries(folder)
    points = scatter(config, panels.table, panels.agreements, panels.titles, joined.selection)
    figures = [
        *write_figure(folder, config, points, "leave_one_out", configured_style(config)),
        *write_figure(folder, config, draw_errors(table, titles), "errors"),
    ]
    tables = [folder.table, folder.summary]
    return Plotted(joined=joined, folder=folder, tables=tables, figures=figures, beside=panels.beside)


def _plot_groups(session: Session, folder: RunFolder) -> Plotted:
    """`groups.csv`, `removals.json`, `groups.json` and the figures."""
    joined, config = join_groups(session), session.config
    write_result(folder, folder.groups, lambda path: joined.table.to_csv(path, index=False))
    write_removals(folder, joined.removals)
    write_summary(
        folder,
        joined.summary,
        folder.group_summary,
        l2_scaling=config["retrain"]["l2_scaling"],
        removals=_choice_of_groups(config),
    )
    session.remember()
    titles = method_titles(config, joined.predictions)
    selection = describe_groups(config, joined.removals)
    figures = [
        *write_figure(folder, config, draw_groups(joined.table, titles, selection), "groups"),
        *_by_size(folder, config, joined, titles),
    ]
    tables = [folder.groups, folder.removals, folder.group_summary]
    return Plotted(joined=joined, folder=folder, tables=tables, figures=figures)


def _choice_of_groups(config: Config) -> list[str]:
    """The overrides that choose these groups."""
    settings = [word for word in shortest_overrides(config) if word.startswith("removals.")]
    return [f"removals={config.choices['removals']}", *settings]


def _by_size(
    folder: RunFolder, config: Config, joined: JoinedGroups, titles: Mapping[str, str]
) -> list[Path]:
    """plots/groups_by_size; where groups have one size there is none, and one of before is removed."""
    name = "groups_by_size"
    if several_sizes(joined.table):
        return write_figure(folder, config, draw_agreement_by_size(joined.table, titles), name)
    remove_figure(folder, name)
    return []
