"""The predictions that influence wrote, as later stages read them: which methods count, and their points."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from repro.configuration.compose import Config
from repro.errors import StageError
from repro.folder.paths import RunFolder
from repro.notices import warn
from repro.records.influence import InfluenceRecord, read_record, read_table
from repro.records.removals import as_stated
from repro.selection import points_by_influence
from retrain.removal import Removal, leave_one_out


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One method's predictions for the test points asked for."""

    method: str
    record: InfluenceRecord
    selected: pd.DataFrame
    """The chosen points' rows of each test point; largest |I_up,loss| first where the method chose them."""

    def seconds(self, test_index: int) -> float:
        """What the method took for one test point, its preparation included."""
        return next(one.seconds for one in self.record.solutions if one.test_index == test_index)


def read_predictions(
    folder: RunFolder, config: Config, model_key: str, targets: list[int], chosen: list[int] | None
) -> list[Prediction]:
    """Every computed method that fits this configuration; the others are named and left out.

    Args:
        folder: the run.
        config: what is asked for.
        model_key: names θ̂.
        targets: test points.
        chosen: training points to select; None where each method's predictions choose them.

    Raises:
        StageError: none fits, or the command line asks for other settings than a method was computed with.
    """
    records = {method: read_record(folder, method) for method in folder.methods()}
    # A method that failed has a record, which says why, and no table.
    tried = [name for name, record in records.items() if record is None or record.table_checksum is not None]
    methods = sorted(tried, key=panel_order(config))
    if not methods:
        raise StageError(
            f"{folder.path / 'influence'} holds no predictions. "
            f"Run first: {config.command('influence', '--method', config.method)}"
        )
    predictions, obstacles = [], []
    for method in methods:
        record = records[method]
        table = None if record is None else read_table(folder, record)
        obstacle = _obstacle(method, record, table, config, model_key, targets)
        if obstacle is not None:
            obstacles.append(obstacle)
            continue
        assert record is not None
        assert table is not None
        if method == config.method:
            _check_asked_settings(config, record)
        selected = as_stated(folder, record, select_rows(config, table, targets, chosen))
        predictions.append(Prediction(method=method, record=record, selected=selected))
    if not predictions:
        raise StageError("\n".join(obstacles))
    for obstacle in obstacles:
        warn(f"left out: {obstacle}")
    return predictions


def selected_removals(predictions: list[Prediction]) -> list[Removal]:
    """The union of the methods' selections over all test points, ascending."""
    rows = {int(index) for prediction in predictions for index in prediction.selected["train_index"]}
    return leave_one_out(sorted(rows))


def panel_order(config: Config) -> Callable[[str], tuple[int, str]]:
    """Methods as `plot.titles` lists them, then the others by name."""
    titled = list(config["plot"]["titles"])
    return lambda method: (titled.index(method) if method in titled else len(titled), method)


def _obstacle(
    method: str,
    record: InfluenceRecord | None,
    table: pd.DataFrame | None,
    config: Config,
    model_key: str,
    targets: list[int],
) -> str | None:
    """Why a method's predictions cannot stand beside this configuration; both values in the line."""
    remedy = config.command("influence", "--method", method)
    if record is None:
        return f"the record of {method} is missing or damaged. Run again: {remedy}"
    if table is None:
        return f"the table of {method} is not the one that its record was written for. Run again: {remedy}"
    if record.model_checksum != model_key:
        return (
            f"{method} was computed with another θ̂: checksum {record.model_checksum[:12]} there, "
            f"{model_key[:12]} here. Run again: {remedy}"
        )
    if not set(targets) <= set(record.test_index):
        return (
            f"{method} was computed for test_index={record.test_index}, this command asks for "
            f"{targets}. Repeat the override that made it, or run: {remedy}"
        )
    return None


def _check_asked_settings(config: Config, record: InfluenceRecord) -> None:
    """Settings of the method on this command line must be those it was computed with."""
    if not any(text.startswith("influence.") for text in config.overrides):
        return
    ours, theirs = config.solver_settings, record.settings
    different = [
        f"  influence.{key}: {theirs.get(key)} there, {value} asked for"
        for key, value in ours.items()
        if theirs.get(key) != value
    ]
    if different:
        raise StageError(
            f"{config.method} was computed with other settings:\n" + "\n".join(different) + "\n"
            f"Run again: {config.command('influence', '--method', config.method)}"
        )


def select_rows(
    config: Config, table: pd.DataFrame, targets: list[int], chosen: list[int] | None
) -> pd.DataFrame:
    """The rows of a method's table that the figure shows: see `read_predictions`."""
    parts = []
    for target in targets:
        # One row for every training point, in order.
        rows = table[table["test_index"] == target]
        own = (
            points_by_influence(config, rows["influence"].to_numpy(np.float64)) if chosen is None else chosen
        )
        parts.append(rows.iloc[own])
    return pd.concat(parts, ignore_index=True)
