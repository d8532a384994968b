"""Figures in plots/: how all are written, and which `repro plot` draws: scatter and errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from matplotlib.figure import Figure
from pandas import DataFrame

from plots.agreement import Agreement
from plots.errors import draw_errors
from plots.leave_one_out import draw_leave_one_out
from plots.style import DEFAULT, STYLES, Style, save
from repro.configuration.compose import Config
from repro.configuration.schema import Format
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder

FORMATS = get_args(Format)


def remove_galleries(folder: RunFolder) -> None:
    """Away with pictures of training images that earlier versions drew: they would show an earlier table."""
    for path in folder.figures.glob("gallery_*"):
        path.unlink()


def draw_scatter(
    folder: RunFolder,
    config: Config,
    table: DataFrame,
    agreements: dict[tuple[str, int], Agreement],
    titles: Mapping[str, str],
    selection: str,
) -> list[Path]:
    """plots/leave_one_out: predicted against actual changes, in the configured style."""
    figure = scatter(config, table, agreements, titles, selection)
    return write_figure(folder, config, figure, "leave_one_out", configured_style(config))


def scatter(
    config: Config,
    table: DataFrame,
    agreements: dict[tuple[str, int], Agreement],
    titles: Mapping[str, str],
    selection: str,
) -> Figure:
    """The figure of predicted against actual changes, as configured."""
    settings = config["plot"]
    return draw_leave_one_out(
        table,
        agreements,
        titles=_shown(titles),
        limits=settings["limits"],
        selection=selection,
        style=configured_style(config),
    )


def configured_style(config: Config) -> Style:
    """The look of the scatter."""
    return STYLES[config["plot"]["style"]]


def draw_errors_and_certificates(
    folder: RunFolder, config: Config, table: DataFrame, titles: Mapping[str, str]
) -> list[Path]:
    """plots/errors: how far each method is from the truth, and how well the truth is known."""
    return write_figure(folder, config, draw_errors(table, _shown(titles)), "errors")


def write_figure(
    folder: RunFolder, config: Config, figure: Figure, name: str, style: Style = DEFAULT
) -> list[Path]:
    """Write plots/NAME in the configured formats, as results of the folder.

    What lies there in other formats would show an earlier run, and is removed.

    Returns:
        The files.
    """
    formats = config["plot"]["formats"]
    paths = [folder.figure(suffix, name) for suffix in formats]
    for path in paths:
        write_result(folder, path, lambda temporary: save(figure, temporary, style=style))
    for suffix in set(FORMATS).difference(formats):
        folder.figure(suffix, name).unlink(missing_ok=True)
    return paths


def remove_figure(folder: RunFolder, name: str) -> None:
    """Away with plots/NAME in every format: it would show an earlier run."""
    for suffix in FORMATS:
        folder.figure(suffix, name).unlink(missing_ok=True)


def verbatim(name: str) -> str:
    """A name as matplotlib's text shows it, which reads mathematics between dollars."""
    return name.replace("$", r"\$")


def _shown(titles: Mapping[str, str]) -> dict[str, str]:
    return {method: verbatim(title) for method, title in titles.items()}
