"""A run folder is an address: a command that is given one needs nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from repro.configuration.address import split_words
from repro.configuration.compose import compose
from repro.configuration.shortest import shortest_overrides
from repro.folder.paths import RunFolder
from tests.command_line import repro, succeed
from tests.forged import forge_config, tree
from tests.npz_files import npz_arrays

SETTINGS = ("data=digits", "data.num_train=300", "model.l2=0.02", "top_k=15", "test_index=[3,8]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("address") / "a run"
    succeed("run", *SETTINGS, "plot.formats=[png]", "--method", "cg", f"output_dir={folder}")
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "a run"))


def refusal(*arguments: str | Path) -> str:
    result = repro(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def test_every_command_works_from_the_folder_alone(run: Path) -> None:
    table = (run / "leave_one_out.csv").read_bytes()
    for command in ("train", "influence", "retrain", "plot", "report", "run", "check", "config"):
        succeed(command, run)
    succeed("compare", run, "compare.settings=[cg]")
    succeed("ground-truth", run, "--out", run.parent / "truth.csv")
    assert repro("diagnose", run).exit_code in (0, 1)
    assert (run / "leave_one_out.csv").read_bytes() == table
    # Train has found the same θ̂ anew.
    succeed("check", run)


def test_the_configuration_is_the_stored_one(finished: Path) -> None:
    config = compose([str(finished)])
    assert config.values == OmegaConf.to_container(OmegaConf.load(finished / "config.yaml"))
    assert config.choices["data"] == "digits"
    assert compose([str(finished), "top_k=4"]).top_k == 4


def test_overrides_change_what_is_stored(run: Path) -> None:
    succeed("plot", run, "top_k=5")
    assert len((run / "leave_one_out.csv").read_text().splitlines()) == 1 + 2 * 5
    # What was asked for last is what the folder stands for.
    succeed("report", run)
    assert len((run / "leave_one_out.csv").read_text().splitlines()) == 1 + 2 * 5


def test_another_method_takes_its_own_settings(run: Path) -> None:
    succeed("influence", run, "influence.tolerance=1e-3")
    assert json.loads((run / "influence" / "cg.json").read_text())["settings"]["tolerance"] == 1e-3
    succeed("influence", run, "--method", "exact")
    assert json.loads((run / "influence" / "exact.json").read_text())["test_index"] == [3, 8]


def test_what_was_refused_is_not_what_the_folder_stands_for(run: Path) -> None:
    before = (run / "config.yaml").read_bytes()
    assert repro("influence", run, "--method", "lissa", "influence.scale=0.01").exit_code == 2
    assert (run / "config.yaml").read_bytes() == before


def test_the_page_names_overrides_and_not_the_folder_they_were_read_from(run: Path) -> None:
    config = compose([str(run), "top_k=7"])
    words = shortest_overrides(config)
    assert compose(words).values == config.values
    assert set(SETTINGS[:3]) | {"top_k=7", "test_index=[3,8]"} < set(words)
    assert len(words) < 10
    assert shortest_overrides(compose(words)) == words


def test_data_of_one_s_own_that_moved_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    np.savez(tmp_path / "there" / "mine.npz", **npz_arrays())
    monkeypatch.chdir(tmp_path / "there")
    folder = tmp_path / "run"
    succeed("train", "data=npz", "data.path=mine.npz", f"output_dir={folder}")
    assert shortest_overrides(compose([str(folder)]))[:2] == ["data=npz", "data.path=mine.npz"]
    monkeypatch.chdir(tmp_path / "here")
    assert "was made of data.path=mine.npz, which is no file here" in refusal("influence", folder)
    succeed("influence", folder, "--method", "cg", "data.path=../there/mine.npz", "test_index=1")


def test_another_theta_is_refused(run: Path) -> None:
    result = repro("plot", run, "model.l2=0.5")
    assert result.exit_code == 1
    assert "holds a run of another configuration" in result.stderr


def test_wrong_addresses_are_named(run: Path, tmp_path: Path) -> None:
    assert "one run folder" in refusal("plot", run, run)
    assert "leave out output_dir" in refusal("plot", run, f"output_dir={run}")
    assert f"In it are the runs {run}" in refusal("plot", tmp_path)
    assert "nor is there such a run folder" in refusal("plot", tmp_path / "none")
    assert "a sweep makes run folders of its own" in refusal("sweep", run, "model.l2=1,2")


def test_a_changed_configuration_is_no_address(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("0.02", "0.03"))
    before = tree(run)
    assert "is not as this tool wrote it" in refusal("plot", run)
    assert tree(run) == before


def _foreign(values: dict[str, Any]) -> dict[str, Any]:
    return {"data": values["data"] | {"_target_": "os.system"}}


def _wrong(values: dict[str, Any]) -> dict[str, Any]:
    return {"model": values["model"] | {"l2": -1.0}}


def _interpolated(values: dict[str, Any]) -> dict[str, Any]:
    return {"plot": values["plot"] | {"titles": {"cg": "${oc.env:HOME}"}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [(_foreign, "data._target_=os.system, which no file"), (_wrong, "model.l2=-1.0: expected")],
)
def test_a_forged_configuration_brings_no_code_and_no_wrong_value(
    run: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    forge_config(RunFolder(run), **change(values))
    assert said in refusal("plot", run)


def test_an_interpolation_in_a_forged_configuration_stays_text(run: Path) -> None:
    values: Any = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    forge_config(RunFolder(run), **_interpolated(values))
    assert compose([str(run)])["plot"]["titles"]["cg"] == "${oc.env:HOME}"


def test_a_file_that_is_chosen_replaces_what_is_stored_and_no_more(run: Path) -> None:
    stored = compose([str(run)])["plot"]
    assert stored["style"] == "default"
    chosen = compose([str(run), "plot=paper"])["plot"]
    assert (chosen["style"], chosen["limits"]) == ("paper", 0.05)
    assert chosen["formats"] == stored["formats"] == ["png"]


def test_a_list_that_is_longer_than_a_name_may_be_is_no_folder() -> None:
    """`Path.is_dir` raises an error for it."""
    long = f"compare.settings=[{','.join(['cg'] * 200)}]"
    assert split_words([long]).overrides == (long,)
