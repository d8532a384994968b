"""`repro plot`: join predicted and actual changes, measure their agreement, draw them."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cli.console import say, show, warn
from erm.dataset import Dataset
from plots.agreement import Agreement, agreement
from repro.configuration.compose import Config
from repro.drawing.figures import draw_errors_and_certificates, draw_galleries, draw_scatter
from repro.drawing.traces import draw_missing_traces
from repro.errors import StageError
from repro.folder.checked_files import shows_another_table
from repro.folder.manifest import write_json_result, write_result
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.predictions import Prediction, read_predictions, selected_removals
from repro.problem import (
    TrainedModel,
    command,
    compute_device,
    load_dataset,
    load_model,
    make_risk,
    test_indices,
)
from repro.records.age import age_in_words
from repro.selection import chosen_points, describe_selection, selection_name
from repro.solving import make_retrainer, refuse_other_models
from retrain.changes import Changes
from retrain.retrainer import Retrainer, with_null_control

COLUMNS = (
    "method",
    "test_index",
    "train_index",
    "label",
    "predicted_change",
    "predicted_stderr",
    "actual_change",
    "certificate",
    "selection",
)


@dataclass(frozen=True, kw_only=True)
class Plotted:
    """What the figure was made from."""

    dataset: Dataset
    risk: Any
    """The empirical risk."""
    model: TrainedModel
    retrainer: Retrainer
    predictions: list[Prediction]
    table: pd.DataFrame
    agreements: dict[tuple[str, int], Agreement]
    summary: dict[str, Any]
    """The content of `summary.json`."""
    selection: str
    """How the training points were chosen, in words."""

    def of_test(self, test_index: int) -> dict[str, Any]:
        """The summary of one test point."""
        found: dict[str, Any] = self.summary.get("test_points", {}).get(str(test_index), self.summary)
        return found


def plot(config: Config, with_page: bool = False) -> Plotted:
    """Write `leave_one_out.csv`, `summary.json` and the figures, and print the table of results.

    Args:
        config: what to plot.
        with_page: whether the report's page is written next; else one of another table is named as old.

    Raises:
        StageError: an earlier stage is missing.
    """
    with open_run_folder(config) as folder:
        plotted = _plot(folder, config)
        if not with_page and shows_another_table(folder):
            warn(f"{folder.report} is old: it shows another table. Anew: {command('report', config)}")
        return plotted


def _plot(folder: RunFolder, config: Config) -> Plotted:
    device, dataset = compute_device(config), load_dataset(config)
    risk = make_risk(config, dataset, device)
    refuse_other_models(config, risk)
    model = load_model(folder, config, dataset, device)
    targets = test_indices(config, dataset, risk, model.theta)
    chosen = chosen_points(config, risk.num_examples)
    predictions = read_predictions(folder, config, model.key, targets, chosen)
    for prediction in predictions:
        if age := age_in_words(folder, prediction.method):
            warn(f"{age}. Anew: {command('influence', config, '--method', prediction.method)}")
    retrainer = make_retrainer(folder, config, risk, model.theta, model.key)
    wanted = with_null_control(selected_removals(predictions))
    x_test, y_test = (torch.from_numpy(array[targets]) for array in (dataset.x_test, dataset.y_test))
    truth = retrainer.changes(x_test, y_test, wanted)
    missing = set(wanted).difference(truth.removals)
    if missing:
        raise StageError(
            f"{len(missing)} of {len(wanted)} leave-one-out models are missing from {folder.weights}. "
            f"Run first: {command('retrain', config)}"
        )
    table = _join(predictions, truth, targets, selection_name(config))
    write_result(folder, folder.table, lambda path: table.to_csv(path, index=False))
    agreements = {
        (prediction.method, target): _agreement(table, prediction.method, target)
        for prediction in predictions
        for target in targets
    }
    for prediction in predictions:
        draw_missing_traces(folder, config, prediction.record)
    summary = _summary(table, predictions, agreements, truth, targets)
    write_json_result(folder, folder.summary, summary)
    selection = describe_selection(config, risk.num_examples, len(targets))
    figures = [
        *draw_scatter(folder, config, table, agreements, selection),
        *draw_errors_and_certificates(folder, config, table),
        *draw_galleries(folder, config, table, dataset, risk, model.theta),
    ]
    _say(folder, summary, targets, figures)
    return Plotted(
        dataset=dataset,
        risk=risk,
        model=model,
        retrainer=retrainer,
        predictions=predictions,
        table=table,
        agreements=agreements,
        summary=summary,
        selection=selection,
    )


def _join(predictions: list[Prediction], truth: Changes, targets: list[int], selection: str) -> pd.DataFrame:
    actual = pd.concat(
        [
            pd.DataFrame(
                {
                    "test_index": target,
                    "train_index": truth.points,
                    "actual_change": truth.actual_change[row, truth.is_point],
                    "certificate": truth.bound[row, truth.is_point],
                }
            )
            for row, target in enumerate(targets)
        ]
    )
    predicted = pd.concat([p.selected.assign(method=p.method) for p in predictions])
    joined = predicted.merge(actual, on=["test_index", "train_index"], validate="many_to_one")
    assert len(joined) == len(predicted)
    return joined.assign(selection=selection)[list(COLUMNS)]


def _agreement(table: pd.DataFrame, method: str, target: int) -> Agreement:
    rows = table[(table["method"] == method) & (table["test_index"] == target)]
    return agreement(rows["predicted_change"].to_numpy(), rows["actual_change"].to_numpy())


def _summary(
    table: pd.DataFrame,
    predictions: list[Prediction],
    agreements: dict[tuple[str, int], Agreement],
    truth: Changes,
    targets: list[int],
) -> dict[str, Any]:
    nothing = truth.null_control
    points = {}
    for row, target in enumerate(targets):
        points[str(target)] = {
            "methods": {
                prediction.method: asdict(agreements[prediction.method, target])
                | {"seconds": prediction.seconds(target)}
                for prediction in predictions
            },
            "max_certificate": float(table.loc[table["test_index"] == target, "certificate"].max()),
            "null_control": float(truth.actual_change[row, nothing]),
            "null_control_certificate": float(truth.bound[row, nothing]),
        }
    first = points[str(targets[0])]
    return first | ({"test_points": points} if len(targets) > 1 else {})


def _say(folder: RunFolder, summary: dict[str, Any], targets: list[int], figures: list[Path]) -> None:
    points = summary.get("test_points", {str(targets[0]): summary})
    columns = ("pearson", "spearman", "slope", "intercept", "max_abs_error", "points", "seconds")
    for target, point in points.items():
        table = Table(
            box=SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
            title=f"test point {target}: actual change on predicted change",
        )
        table.add_column("method", no_wrap=True)
        for name in columns:
            table.add_column(name.replace("max_abs_error", "max error"), justify="right", no_wrap=True)
        for method, result in point["methods"].items():
            table.add_row(method, *(_cell(name, result[name]) for name in columns))
        rows = [{"method": method} | result for method, result in point["methods"].items()]
        show(table, "agreement", rows, test_index=int(target))
        say(
            f"largest certificate {point['max_certificate']:.1e}; null control {point['null_control']:.1e} "
            f"(certificate {point['null_control_certificate']:.1e})",
            "certified",
            test_index=int(target),
            **{name: value for name, value in point.items() if name not in ("methods", "test_points")},
        )
    say(
        f"wrote {folder.table}, {folder.summary} and the figures in {folder.figures}",
        "wrote",
        files=[folder.table, folder.summary, *figures],
    )


def _cell(name: str, value: float) -> str:
    if math.isnan(value):
        return "undefined"
    formats = {"pearson": ".5f", "spearman": ".5f", "slope": ".4f", "points": "d", "seconds": ".1f"}
    return format(value, formats.get(name, ".1e"))
