"""`repro check` finds what was forged, however carefully."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from repro.folder.manifest import write_json_result, write_result
from repro.folder.paths import RunFolder
from retrain.weight_file import read_weights
from retrain.weights import WeightCache
from tests.command_line import FAST, repro, succeed
from tests.forged import forge_config

METHODS = ("--method", "cg", "--method", "grad_dot")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody touches."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    succeed("run", *METHODS, *FAST, f"output_dir={folder}")
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> RunFolder:
    """A copy to forge."""
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_sound_run_passes_and_is_left_as_it_was(copied: RunFolder) -> None:
    before = {path: path.read_bytes() for path in copied.path.rglob("*") if path.is_file()}
    said = succeed("check", copied.path)
    assert said.count("good") == 6
    assert "follows from the data" in said
    assert {path: path.read_bytes() for path in copied.path.rglob("*") if path.is_file()} == before


def test_several_test_points_and_other_selections_pass(tmp_path: Path) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run", "test_index=[3,8]"]
    succeed("run", "--method", "cg", *overrides, "removals=random", "removals.count=7")
    assert succeed("check", tmp_path / "run").count("good") == 6


def forge_actual(folder: RunFolder) -> None:
    """One actual change larger by a hundredth, the summary and all checksums to match."""
    table = pd.read_csv(folder.table)
    table["actual_change"] = table["actual_change"].where(table.index > 0, table["actual_change"] * 1.01)
    write_result(folder, folder.table, lambda path: table.to_csv(path, index=False))


def forge_certificate(folder: RunFolder) -> None:
    table = pd.read_csv(folder.table)
    table["certificate"] /= 1000
    write_result(folder, folder.table, lambda path: table.to_csv(path, index=False))


def forge_prediction(folder: RunFolder) -> None:
    table = pd.read_csv(folder.table)
    table["predicted_change"] = table["actual_change"]
    write_result(folder, folder.table, lambda path: table.to_csv(path, index=False))


def forge_summary(folder: RunFolder) -> None:
    summary = json.loads(folder.summary.read_text())
    summary["methods"]["grad_dot"]["pearson"] = 0.99
    write_json_result(folder, folder.summary, summary)


def forge_weights(folder: RunFolder) -> None:
    """Models moved by 1e-5 under true checksums, that claim to be as near as the true ones."""
    for path in folder.weights.glob("*.safetensors"):
        key, weights = read_weights(path)
        path.unlink()
        moved = weights.differences * (1 + 1e-5)
        WeightCache(folder.weights, key, pytest.fail).write(replace(weights, differences=moved))


@pytest.mark.parametrize(
    ("forge", "check"),
    [
        (forge_actual, "actual changes"),
        (forge_certificate, "actual changes"),
        (forge_prediction, "predictions"),
        (forge_summary, "summary"),
        (forge_weights, "leave-one-out models"),
    ],
)
def test_what_was_forged_is_found(copied: RunFolder, forge: Callable[[RunFolder], None], check: str) -> None:
    forge(copied)
    result = repro("check", copied.path)
    assert result.exit_code == 1
    bad = [line for line in result.stdout.splitlines() if line.startswith("BAD")]
    assert any(line.startswith(f"BAD   {check}") for line in bad), result.stdout


@pytest.mark.parametrize("name", ["model.safetensors", "influence/cg.csv", "summary.json", "weights"])
def test_what_was_damaged_is_named(copied: RunFolder, name: str) -> None:
    path = next(copied.weights.glob("*.safetensors")) if name == "weights" else copied.path / name
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    result = repro("check", copied.path)
    assert result.exit_code == 1
    assert path.name in result.stdout


@pytest.mark.parametrize("wrong", [{"pearson": "0.9"}, {"points": True}, {"slope": []}], ids=repr)
def test_a_summary_of_another_form_is_named_on_one_line(copied: RunFolder, wrong: dict[str, Any]) -> None:
    summary = json.loads(copied.summary.read_text())
    summary["methods"]["grad_dot"].update(wrong)
    write_json_result(copied, copied.summary, summary)
    result = repro("check", str(copied.path))
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "summary.json is not of the form" in line]
    assert f"methods.grad_dot.agreement.{next(iter(wrong))}" in line
    assert "pydantic" not in result.output


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = repro("check", tmp_path)
    assert result.exit_code == 2
    assert "holds no run" in result.stderr


def test_data_that_moved_can_be_named(copied: RunFolder, tmp_path: Path) -> None:
    result = repro("check", copied.path, "--data-root", tmp_path)
    # The digits have no root: they are bundled.
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output


def test_a_page_of_another_table_is_told_from_this_one_and_drawings_may_go(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = (*FAST, f"output_dir={folder}")
    succeed("run", "--method", "cg", *overrides, "plot.formats=[png,pdf]")
    succeed("report", *overrides, "plot.formats=[png,pdf]")
    assert "good  page: report.html shows this table" in succeed("check", folder)
    succeed("plot", *overrides, "top_k=5")
    # A figure in a format that was not asked for again would show the earlier table.
    assert not list((folder / "plots").glob("leave_one_out.pdf"))
    result = repro("check", folder)
    assert result.exit_code == 1
    assert "BAD   page: report.html shows another table" in result.stdout
    assert "repro report" in result.stdout
    (folder / "report.html").unlink()
    for path in (folder / "plots").iterdir():
        path.unlink()
    assert "good  page" not in succeed("check", folder)


def test_a_run_from_before_there_were_some_keys_passes(copied: RunFolder) -> None:
    forge_config(copied, retrain={"tolerance": 1e-9, "precision": "mixed", "batch_size": None})
    assert "follows from the data" in succeed("check", copied.path)
    assert "0 solved now" in succeed("retrain", copied.path)
