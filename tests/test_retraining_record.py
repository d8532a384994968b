"""The record of retrainings names removals, and is read as earlier versions wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from repro.folder.paths import RunFolder
from repro.records.retraining import read_runs
from retrain.removal import Removal
from tests.command_line import FAST, succeed

ENTRY = {
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


def test_what_is_written_are_removals(tmp_path: Path) -> None:
    overrides = (*FAST, "removals=indices", "removals.indices=[5,2]", f"output_dir={tmp_path}/run")
    succeed("train", *overrides)
    succeed("retrain", *overrides)
    (run,) = read_runs(RunFolder(tmp_path / "run")) or []
    assert run.removals == [[], [2], [5]]
