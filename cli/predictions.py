"""The predictions that influence wrote, as later stages read them: which methods count, and their points."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from cli.compose import SELECTION_KEYS, Config
from cli.console import warn
from cli.errors import StageError
from cli.problem import command
from cli.run_folder import RunFolder
from influence.scores import most_influential


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One method's predictions for the test points asked for."""

    method: str
    record: dict[str, Any]
    selected: pd.DataFrame
    """The top_k rows of each test point, largest |I_up,loss| first."""


def read_predictions(
    folder: RunFolder, config: Config, model_key: str, targets: list[int]
) -> list[Prediction]:
    """Every computed method that fits this configuration; the others are named and left out.

    Raises:
        StageError: none fits, or the command line asks for other settings than a method was computed with.
    """
    methods = sorted(folder.methods(), key=_panel_order(config))
    if not methods:
        raise StageError(
            f"{folder.path / 'influence'} holds no predictions. "
            f"Run first: {command('influence', config, '--method', config.method)}"
        )
    records = {method: _read_record(folder, config, method) for method in methods}
    _check_asked_settings(config, records.get(config.method))
    obstacles = {
        method: obstacle
        for method, record in records.items()
        if (obstacle := _obstacle(method, record, config, model_key, targets)) is not None
    }
    if len(obstacles) == len(methods):
        raise StageError("\n".join(obstacles.values()))
    for obstacle in obstacles.values():
        warn(f"left out: {obstacle}")
    return [
        Prediction(
            method=method,
            record=records[method],
            selected=_select(folder, config, method, targets),
        )
        for method in methods
        if method not in obstacles
    ]


def selected_indices(predictions: list[Prediction]) -> list[int]:
    """The union of the methods' selections over all test points, ascending."""
    return sorted({int(index) for prediction in predictions for index in prediction.selected["train_index"]})


def _panel_order(config: Config) -> Callable[[str], tuple[int, str]]:
    """Methods as `plot.titles` lists them, then the others by name."""
    titled = list(config["plot"]["titles"])
    return lambda method: (titled.index(method) if method in titled else len(titled), method)


def _read_record(folder: RunFolder, config: Config, method: str) -> dict[str, Any]:
    path = folder.influence_record(method)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: record[key] for key in ("settings", "model_checksum", "test_index", "seconds", "solutions")
        }
    except (OSError, ValueError, KeyError) as error:
        raise StageError(
            f"{path} is missing or damaged. Run again: {command('influence', config, '--method', method)}"
        ) from error


def _obstacle(
    method: str, record: dict[str, Any], config: Config, model_key: str, targets: list[int]
) -> str | None:
    """Why a method's predictions cannot stand beside this configuration; both values in the line."""
    remedy = command("influence", config, "--method", method)
    if record["model_checksum"] != model_key:
        return (
            f"{method} was computed with another θ̂: checksum {record['model_checksum'][:12]} there, "
            f"{model_key[:12]} here. Run again: {remedy}"
        )
    if not set(targets) <= set(record["test_index"]):
        return (
            f"{method} was computed for influence.test_index={record['test_index']}, this command asks for "
            f"{targets}. Repeat the override that made it, or run: {remedy}"
        )
    return None


def _check_asked_settings(config: Config, record: dict[str, Any] | None) -> None:
    """Settings of the method on this command line must be those it was computed with."""
    asked = {
        key
        for override in config.overrides
        if (key := override.split("=")[0]).startswith("influence.")
        and key.split(".")[1] not in SELECTION_KEYS
    }
    if record is None or not asked:
        return
    ours, theirs = config.solver_settings, record["settings"]
    different = [
        f"  influence.{key}: {theirs.get(key)} there, {value} asked for"
        for key, value in ours.items()
        if theirs.get(key) != value
    ]
    if different:
        raise StageError(
            f"{config.method} was computed with other settings:\n" + "\n".join(different) + "\n"
            f"Run again: {command('influence', config, '--method', config.method)}"
        )


def _select(folder: RunFolder, config: Config, method: str, targets: list[int]) -> pd.DataFrame:
    path = folder.influence_table(method)
    try:
        table = pd.read_csv(path)
        parts = [
            _top(table[table["test_index"] == target], config["influence"]["top_k"]) for target in targets
        ]
    except (OSError, ValueError, KeyError) as error:
        raise StageError(
            f"{path} is damaged ({error}). Run again: {command('influence', config, '--method', method)}"
        ) from error
    return pd.concat(parts, ignore_index=True)


def _top(table: pd.DataFrame, top_k: int) -> pd.DataFrame:
    # A copy: pandas lends its columns read-only, which torch does not take.
    influence = torch.from_numpy(table["influence"].to_numpy(dtype=np.float64, copy=True))
    return table.iloc[most_influential(influence, top_k).numpy()]
