"""Of a file of one's own the content counts, not how its path was typed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from repro.configuration.compose import compose
from repro.folder.naming import run_folder
from tests.command_line import repro, succeed
from tests.test_newcomer_traps import write_npz


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of data, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_npz(tmp_path / "mine.npz")


def folder_of(path: object) -> Path:
    return run_folder(compose(["data=npz", f"data.path={path}"])).path


def test_every_way_to_type_a_path_leads_to_the_same_run(data: Path) -> None:
    succeed("train", "data=npz", "data.path=mine.npz")
    (trained,) = Path("outputs").iterdir()
    shutil.copy(data, "copy.npz")
    for path in ("mine.npz", "./mine.npz", data, "copy.npz"):
        assert folder_of(path) == trained
    succeed("influence", "--method", "exact", "data=npz", f"data.path={data}")
    succeed("influence", "--method", "cg", "data=npz", "data.path=copy.npz")
    assert {path.stem for path in (trained / "influence").glob("*.csv")} == {"exact", "cg"}
    assert len(list(Path("outputs").iterdir())) == 1


def test_other_content_is_another_run(data: Path) -> None:
    before = folder_of(data)
    write_npz(data, num_classes=4)
    assert folder_of(data) != before


def test_a_run_that_was_named_by_its_path_keeps_its_folder(data: Path) -> None:
    keys = {
        "data._target_": "erm.data.npz.load_npz", "data.path": "mine.npz", "data.num_train": None,
        "model._target_": "erm.models.logistic", "model.l2": 0.01, "model.bias": False,
        "fit._target_": "erm.fit.NewtonFit", "fit.tolerance": 1e-10, "fit.max_passes": 3000,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()
    old = Path("outputs") / f"npz-logistic-{digest[:8]}"
    assert folder_of("mine.npz") != old
    old.mkdir(parents=True)
    assert folder_of("mine.npz") == old
    succeed("run", "--method", "exact", "data=npz", "data.path=mine.npz")
    succeed("check", old)


def test_a_folder_of_another_name_takes_the_same_data_by_any_path(data: Path) -> None:
    succeed("train", "data=npz", "data.path=mine.npz", "output_dir=run")
    succeed("influence", "--method", "exact", "data=npz", f"data.path={data}", "output_dir=run")
    write_npz(Path("other.npz"), num_classes=4)
    for command in ("train", "retrain"):
        result = repro(command, "data=npz", "data.path=other.npz", "output_dir=run")
        assert result.exit_code == 1
        assert "mine.npz there, other.npz asked for" in result.stderr
