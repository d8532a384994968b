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
from repro.group_agreement import JoinedGroups, join_groups, write_groups
from repro.notices import warn
from repro.panels_beside import with_panels_beside
from repro.records.summary import write_summary
from repro.selection import describe_groups, makes_groups
from repro.session import Session


@dataclass(frozen=True, kw_only=True)
class Plotted:
    """The table of results, and the files that show it."""

    joined: JoinedChanges
    folder: RunFolder
    figures: list[Path]
    beside: tuple[Path, ...] = ()
    """Run folders of the panels that `plot.beside` names."""


@dataclass(frozen=True, kw_only=True)
class PlottedGroups:
    """The same of groups of training rows."""

    joined: JoinedGroups
    folder: RunFolder
    figures: list[Path]


def plot(session: Session) -> Plotted | PlottedGroups:
    """Write table, summary and figures: of single points, or of groups where `removals` makes these.

    Raises:
        StageError: an earlier stage is missing.
    """
    return plot_groups(session) if makes_groups(session.config) else plot_points(session)


def plot_groups(session: Session, with_page: bool = False) -> PlottedGroups:
    """Write `groups.csv`, `removals.json`, `groups.json` and the figures. Arguments as of `plot_points`.

    Raises:
        StageError: an earlier stage is missing.
    """
    with session.opened() as folder:
        joined = join_groups(session)
        config, predictions = session.config, joined.choice.predictions
        write_groups(folder, joined)
        write_summary(
            folder,
            joined.summary,
            folder.group_summary,
            l2_scaling=config["retrain"]["l2_scaling"],
            removals=_choice_of_groups(config),
        )
        session.remember()
        titles = method_titles(config, predictions)
        selection = describe_groups(config, joined.choice.removals)
        figures = [
            *write_figure(folder, config, draw_groups(joined.table, titles, selection), "groups"),
            *_by_size(folder, config, joined, titles),
        ]
        found = PlottedGroups(joined=joined, folder=folder, figures=figures)
        session.listener.result(found)
        _warn_of_old_page(session, folder, with_page)
        return found


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


def plot_points(session: Session, with_page: bool = False) -> Plotted:
    """Write `leave_one_out.csv`, `summary.json` and the figures.

    Args:
        session: what to plot.
        with_page: whether the report's page is written next; else one of another table is named as old.

    Raises:
        StageError: an earlier stage is missing.
    """
    with session.opened() as folder:
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
        found = Plotted(joined=joined, folder=folder, figures=figures, beside=panels.beside)
        session.listener.result(found)
        _warn_of_old_page(session, folder, with_page)
        return found


def _warn_of_old_page(session: Session, folder: RunFolder, with_page: bool) -> None:
    if not with_page and shows_another_table(folder):
        warn(f"{folder.report} is old: it shows another table. Anew: {session.command('report')}")
