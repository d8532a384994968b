"""The record of retrainings names removals, and is read as earlier versions wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from repro.folder.paths import RunFolder
from repro.records.retraining import read_runs, recorded
from retrain.removal import Removal
from retrain.settings import RetrainSettings
from tests.command_line import FAST, succeed

ENTRY: dict[str, Any] = {
    "model_checksum": "0" * 64,
    "settings": {"tolerance": 1e-9, "precision": "mixed", "batch_size": None, "shard": "models"},
    "models": 2,
    "seconds": 0.5,
    "passes_per_model": 3.0,
    "processes": 1,
    "device": "cpu",
    "trace": [[1, 1e-4, 2]],
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"indices": [-1, 3]}, {(), (3,)}),
        ({"removals": [[], [3], [3, 7]]}, {(), (3,), (3, 7)}),
        ({}, None),
    ],
)
def test_entries_name_their_models_in_one_of_two_ways(
    tmp_path: Path, names: dict[str, Any], expected: set[Removal] | None
) -> None:
    folder = RunFolder(tmp_path)
    folder.retrain_record.parent.mkdir()
    folder.retrain_record.write_text(json.dumps({"runs": [ENTRY | names]}), encoding="utf-8")
    runs = read_runs(folder)
    assert (None if runs is None else runs[0].solved) == expected


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ({}, True),
        ({"tolerance": 1e-12, "batch_size": 4, "order_seed": 3}, True),
        ({"damping": 0.1}, False),
        ({"l2_scaling": "sum"}, False),
        ({"steps": 40}, False),
    ],
)
def test_what_was_solved_with_other_settings_is_only_there_if_they_ask_the_same(
    tmp_path: Path, asked: dict[str, Any], there: bool
) -> None:
    folder = RunFolder(tmp_path)
    folder.retrain_record.parent.mkdir()
    folder.retrain_record.write_text(json.dumps({"runs": [ENTRY | {"removals": [[3]]}]}), encoding="utf-8")
    found = recorded(folder, ENTRY["model_checksum"], RetrainSettings(**asked), [(3,), (4,)])
    assert found == ({(3,)} if there else set())


def test_the_order_of_steps_that_were_trained_on_counts(tmp_path: Path) -> None:
    folder, key = RunFolder(tmp_path), ENTRY["model_checksum"]
    folder.retrain_record.parent.mkdir()
    settings = ENTRY["settings"] | {"steps": 40, "order_seed": 3}
    entry = ENTRY | {"removals": [[3]], "settings": settings}
    folder.retrain_record.write_text(json.dumps({"runs": [entry]}), encoding="utf-8")
    assert recorded(folder, key, RetrainSettings(steps=40, order_seed=3), [(3,)]) == {(3,)}
    assert recorded(folder, key, RetrainSettings(steps=40), [(3,)]) == set()


def test_what_is_written_are_removals(tmp_path: Path) -> None:
    overrides = (*FAST, "removals=indices", "removals.indices=[5,2]", f"output_dir={tmp_path}/run")
    succeed("train", *overrides)
    succeed("retrain", *overrides)
    (run,) = read_runs(RunFolder(tmp_path / "run")) or []
    assert run.removals == [[], [2], [5]]
