"""`repro report`: one page with the verdict, the figure to explore, who matters, and how it was made."""

from dataclasses import dataclass
from pathlib import Path

from report.content import AxisLimits, Page
from report.images import figure_uri
from report.page import render, render_groups
from report.points import drawn_points, figure_data
from repro.agreement import JoinedChanges
from repro.configuration.compose import Config, compose
from repro.departures import method_titles
from repro.drawing.figures import configured_style, scatter
from repro.folder.manifest import file_checksum, write_text_result
from repro.group_agreement import JoinedGroups
from repro.page.examples import Pictures, describe_test_point
from repro.page.groups import describe_groups_page
from repro.page.judged import judged_scores
from repro.page.other import other_groups
from repro.page.provenance import describe_making
from repro.page.retraining import read_retraining
from repro.page.traces import traces
from repro.session import Session
from repro.stages.plot import plot


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The page that was written."""

    page: Path
    num_bytes: int


def report(session: Session) -> Reported:
    """Plot anew, so that the page shows what this configuration asks for, and write `report.html`.

    Raises:
        StageError: an earlier stage is missing.
    """
    with session.opened() as folder:
        write_text_result(folder, folder.report, _rendered(session))
        found = Reported(page=folder.report, num_bytes=folder.report.stat().st_size)
        session.listener.result(found)
        return found


def _rendered(session: Session) -> str:
    joined = plot(session, with_page=True).joined
    if isinstance(joined, JoinedGroups):
        return render_groups(describe_groups_page(session, joined))
    return render(_page(session, joined))


def _page(session: Session, joined: JoinedChanges) -> Page:
    dataset, config, folder = session.dataset, session.config, session.folder
    titles, pictures = method_titles(config, joined.predictions), Pictures.of(dataset)
    retraining = read_retraining(folder, config, joined.model.key, joined.retrainer, joined.removals)
    sizes = f"{len(dataset.y_train):,} training and {len(dataset.y_test):,} test examples"
    return Page(
        data=f"{config.choices['data']}, {sizes}",
        model=joined.retrainer.description,
        selection=joined.selection,
        example_noun="image" if dataset.image_shape else "example",
        test_points=[
            describe_test_point(dataset, joined, retraining, target, titles, pictures)
            for target in joined.summary
        ],
        judged=judged_scores(folder, joined),
        figure=figure_data(joined.table, titles),
        images=pictures.by_index(dataset.x_train, drawn_points(joined.table)),
        limits=_limits(config),
        local=any(point.basins is not None for point in joined.summary.values()),
        table_checksum=file_checksum(folder.table),
        printed_figure=_printed_figure(config, joined, titles),
        other=other_groups(session),
        making=describe_making(
            folder,
            config,
            joined.model,
            joined.predictions,
            list(joined.summary),
            retraining,
            models="leave-one-out models",
            traces=traces(joined, retraining),
        ),
    )


def _limits(config: Config) -> AxisLimits:
    paper, configured = compose(["plot=paper"])["plot"]["limits"], config["plot"]["limits"]
    return AxisLimits(paper=paper, configured=None if configured == paper else configured)


def _printed_figure(config: Config, joined: JoinedChanges, titles: dict[str, str]) -> str:
    """The figure for paper, whatever formats the files of figures have."""
    figure = scatter(config, joined.table, joined.agreements, titles, joined.selection)
    return figure_uri(figure, configured_style(config))
