"""Figures in plots/: how all are written, and the scatter as the configuration has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from matplotlib.figure import Figure
from pandas import DataFrame

from plots.agreement import Agreement
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


def scatter(
    config: Config,
    table: DataFrame,
    agreements: Mapping[tuple[str, int], Agreement],
    titles: Mapping[str, str],
    selection: str,
) -> Figure:
    """The figure of predicted against actual changes, as configured."""
    settings = config["plot"]
    return draw_leave_one_out(
        table,
        agreements,
        titles=titles,
        limits=settings["limits"],
        selection=selection,
        style=configured_style(config),
    )


def configured_style(config: Config) -> Style:
    """The look of the scatter."""
    return STYLES[config["plot"]["style"]]


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
