"""`repro report`: one page with the verdict, the figure to explore, who matters, and how it was made."""

import base64
import os
import sys
import webbrowser
from io import BytesIO
from pathlib import Path

from cli.console import say
from plots.style import save
from report.content import Page
from report.page import render
from report.points import drawn_points, figure_data
from repro.configuration.compose import Config, compose
from repro.drawing.figures import configured_style, scatter
from repro.folder.manifest import file_checksum, write_text_result
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.page.examples import Pictures, describe_test_point
from repro.page.provenance import describe_making
from repro.page.retraining import read_retraining
from repro.stages.plot import Plotted, plot


def report(config: Config) -> Path:
    """Plot anew, so that the page shows what this configuration asks for, and write `report.html`.

    Returns:
        The page.

    Raises:
        StageError: an earlier stage is missing.
    """
    with open_run_folder(config) as folder:
        plotted = plot(config, with_page=True)
        write_text_result(folder, folder.report, render(_page(folder, config, plotted)))
        size = folder.report.stat().st_size / 1e6
        say(f"wrote {folder.report} ({size:.1f} MB); open it in a browser", "wrote", files=[folder.report])
    return folder.report


def open_in_browser(page: Path) -> bool:
    """Show a page to the person at this machine; False where nobody could see it."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # What would open here is a text browser, in the terminal that waits for this command.
        return False
    return webbrowser.open(page.resolve().as_uri())


def _page(folder: RunFolder, config: Config, plotted: Plotted) -> Page:
    dataset, table = plotted.dataset, plotted.table
    titles, pictures = dict(config["plot"]["titles"]), Pictures.of(plotted)
    noun = "image" if dataset.image_shape else "example"
    images = pictures.by_index(dataset.x_train, drawn_points(table))
    retraining = read_retraining(folder, config, plotted)
    figure = figure_data(table, titles)
    sizes = f"{len(dataset.y_train):,} training and {len(dataset.y_test):,} test examples"
    return Page(
        data=f"{config.choices['data']}, {sizes}",
        model=plotted.retrainer.description,
        selection=plotted.selection,
        example_noun=noun,
        test_points=[
            describe_test_point(plotted, retraining, int(target), titles, pictures)
            for target in table["test_index"].unique()
        ],
        figure=figure | {"images": images, "noun": noun, "limits": _limits(config)},
        table_checksum=file_checksum(folder.table),
        printed_figure=_printed_figure(config, plotted),
        making=describe_making(folder, config, plotted, retraining),
    )


def _limits(config: Config) -> dict[str, float | None]:
    """Half-widths of the axes to choose from beside that of the data: the paper's, and the configured one."""
    paper, configured = compose(["plot=paper"])["plot"]["limits"], config["plot"]["limits"]
    return {"paper": paper, "configured": None if configured == paper else configured}


def _printed_figure(config: Config, plotted: Plotted) -> str:
    """The figure for paper, whatever formats the files of figures have, as a `data:` address."""
    picture = BytesIO()
    figure = scatter(config, plotted.table, plotted.agreements, plotted.selection)
    save(figure, picture, "png", style=configured_style(config))
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
