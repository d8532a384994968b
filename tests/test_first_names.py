"""What has another name now is still understood by its first one, and its runs keep their folders."""

import sys
from pathlib import Path

import pytest

from repro.configuration.compose import compose
from repro.configuration.files import shipped_targets
from repro.configuration.schema import FIRST_NAMES
from repro.folder.manifest import write_text_result
from repro.folder.naming import run_folder
from repro.folder.paths import RunFolder
from tests.command_line import succeed
from tests.idx_files import write_tiny


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["data=mnist"], "mnist-logistic-1d4a3278"),
        (["data=mnist", "data.num_train=5500"], "mnist-logistic-6973e875"),
        (["data=fashion_mnist"], "fashion_mnist-logistic-9aae02d8"),
    ],
)
def test_a_run_folder_has_the_name_it_had_under_the_first_name(overrides: list[str], name: str) -> None:
    assert run_folder(compose(overrides)).path.name == name


@pytest.mark.parametrize("now", FIRST_NAMES)
def test_a_file_with_the_first_name_is_the_same_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str
) -> None:
    (tmp_path / "data").mkdir()
    keys = "root: data\nnum_train: null\nnum_validation: 5000\n"
    for name, target in (("before", FIRST_NAMES[now]), ("after", now)):
        (tmp_path / "data" / f"{name}.yaml").write_text(f"_target_: {target}\n{keys}")
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, after = (compose([f"data={name}"]) for name in ("before", "after"))
    assert before["data"] == after["data"]
    assert after["data"]["_target_"] in shipped_targets()


def test_a_run_whose_configuration_has_the_first_name_is_checked_and_goes_on(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    folder = RunFolder(tmp_path / "run")
    overrides = ["data=mnist", f"data.root={tmp_path}", "data.num_validation=2", f"output_dir={folder.path}"]
    overrides += ["test_index=0", "top_k=3"]
    succeed("train", *overrides)
    text = folder.config.read_text()
    now = "erm.data.mnist.load_mnist"
    assert now in text
    write_text_result(folder, folder.config, text.replace(now, FIRST_NAMES[now]))
    said = succeed("check", folder.path)
    assert "follows from the data" in said
    succeed("influence", "--method", "grad_dot", *overrides)
    assert folder.influence_table("grad_dot").exists()
