"""`repro plot`: join predicted and actual changes, write the table and its summary, draw the figures."""

from dataclasses import dataclass
from pathlib import Path

from repro.agreement import JoinedChanges, join_changes
from repro.departures import method_titles
from repro.drawing.figures import draw_errors_and_certificates, draw_scatter, remove_galleries
from repro.folder.checked_files import shows_another_table
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.summary import write_summary
from repro.session import Session


@dataclass(frozen=True, kw_only=True)
class Plotted:
    """The table of results, and the files that show it."""

    joined: JoinedChanges
    folder: RunFolder
    figures: list[Path]


def plot(session: Session, with_page: bool = False) -> Plotted:
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
        write_result(folder, folder.table, lambda path: table.to_csv(path, index=False))
        write_summary(folder, joined.summary)
        session.remember()
        titles = method_titles(config, joined.predictions)
        remove_galleries(folder)
        figures = [
            *draw_scatter(folder, config, table, joined.agreements, titles, joined.selection),
            *draw_errors_and_certificates(folder, config, table, titles),
        ]
        found = Plotted(joined=joined, folder=folder, figures=figures)
        session.listener.result(found)
        if not with_page and shows_another_table(folder):
            warn(f"{folder.report} is old: it shows another table. Anew: {session.command('report')}")
        return found
