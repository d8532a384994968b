"""Figures in plots/: how all are written, and which `repro plot` draws: scatter, errors, galleries."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor

from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from plots.agreement import Agreement
from plots.errors import draw_errors
from plots.gallery import TestExample, draw_gallery
from plots.leave_one_out import draw_leave_one_out
from plots.ranking import most_harmful, most_helpful
from plots.style import DEFAULT, STYLES, Style, save
from repro.configuration.compose import Config
from repro.configuration.schema import Format
from repro.folder.manifest import write_result
from repro.folder.paths import RunFolder

FORMATS = get_args(Format)


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


def draw_galleries(
    folder: RunFolder,
    config: Config,
    table: DataFrame,
    dataset: Dataset,
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    titles: Mapping[str, str],
) -> list[Path]:
    """plots/gallery_TEST for each test point of the table, where examples are images.

    The predicted changes beside the actual ones are those of the table's first method. Galleries of other
    test points, which an earlier table had, are removed.
    """
    for path in folder.figures.glob("gallery_*"):
        if path.stem not in {f"gallery_{test_index}" for test_index in table["test_index"]}:
            path.unlink()
    if dataset.image_shape is None:
        return []
    written = []
    images = dataset.x_train.reshape(-1, *dataset.image_shape)
    method = str(table["method"].iloc[0])
    for test_index, rows in table.groupby("test_index", sort=False):
        predicted = rows[rows["method"] == method].set_index("train_index")["predicted_change"]
        figure = draw_gallery(
            _test_example(dataset, risk, theta, int(str(test_index))),
            most_helpful(rows),
            most_harmful(rows),
            images,
            {int(str(index)): float(change) for index, change in predicted.items()},
            verbatim(titles[method]),
            num_ranked=rows["train_index"].nunique(),
        )
        written += write_figure(folder, config, figure, f"gallery_{test_index}")
    return written


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


def verbatim(name: str) -> str:
    """A name as matplotlib's text shows it, which reads mathematics between dollars."""
    return name.replace("$", r"\$")


def _shown(titles: Mapping[str, str]) -> dict[str, str]:
    return {method: verbatim(title) for method, title in titles.items()}


def _test_example(
    dataset: Dataset, risk: EmpiricalRisk, theta: Float[Tensor, " p"], test_index: int
) -> TestExample:
    assert dataset.image_shape is not None
    x, y = dataset.x_test[[test_index]], dataset.y_test[[test_index]]
    features, labels = torch.from_numpy(x), torch.from_numpy(y).to(theta.device)
    return TestExample(
        index=test_index,
        image=np.asarray(x[0]).reshape(dataset.image_shape),
        label=int(y[0]),
        predicted_class=int(risk.predict(theta, features)[0]),
        loss=float(risk.losses(theta, features, labels)[0]),
    )
