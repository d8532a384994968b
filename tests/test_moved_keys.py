"""A key that has another name now: typed by its old one it is answered by the new one, in old files read."""

import json

import pytest
import yaml
from omegaconf import OmegaConf

from repro.configuration.compose import compose
from repro.errors import UsageError
from repro.folder.manifest import write_text_result
from repro.folder.paths import RunFolder
from repro.folder.recorded_config import recorded_config
from tests.command_line import FAST, repro, succeed

ANSWERS = {
    "influence.test_index=8": "influence.test_index is now test_index: test_index=8",
    "influence.test_index=[3,8]": "influence.test_index is now test_index: 'test_index=[3,8]'",
    "influence.top_k=20": "influence.top_k is now top_k: top_k=20",
    "+influence.top_k=20": "influence.top_k is now top_k: top_k=20",
    "influence.test_index=8 influence.top_k=20": (
        "influence.test_index, influence.top_k are now test_index, top_k: test_index=8 top_k=20"
    ),
    "retrain.points=all": "retrain.points is now removals: removals=all",
    "retrain.points=[3,8]": "retrain.points is now removals: removals=indices 'removals.indices=[3,8]'",
    "retrain.points=random retrain.num_random=500 retrain.seed=1": (
        "retrain.points, retrain.num_random, retrain.seed are now removals, removals.count, removals.seed: "
        "removals=random removals.count=500 removals.seed=1"
    ),
}


@pytest.mark.parametrize("words", ANSWERS)
@pytest.mark.parametrize(
    "command", [["plot"], ["run", "--method", "cg"], ["run", "--method", "cg", "--method", "exact"]]
)
def test_an_old_name_is_answered_by_the_new_one(command: list[str], words: str) -> None:
    result = repro(*command, "data=digits", *words.split())
    assert result.exit_code == 2
    assert " ".join(result.stderr.split()) == f"error: {ANSWERS[words]}"


def test_the_answer_in_a_sweep_has_all_values() -> None:
    result = repro("sweep", "data=digits", "influence.top_k=20,30")
    assert result.exit_code == 2
    assert "influence.top_k is now top_k: top_k=20,30" in result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("moved") / "run")
    succeed("train", *FAST, f"output_dir={folder.path}")
    return folder


def test_a_run_folder_with_the_old_names_is_read(trained: RunFolder) -> None:
    before = recorded_config(trained)
    text = trained.config.read_text()
    assert "\ntest_index: misclassified\ntop_k: 40\n" in text
    old = text.replace("test_index: misclassified\ntop_k: 40\n", "")
    old = old.replace("influence:\n", "influence:\n  test_index: misclassified\n  top_k: 40\n")
    write_text_result(trained, trained.config, old)
    assert recorded_config(trained).values == before.values
    assert "follows from the data" in succeed("check", trained.path)
    succeed("influence", "--method", "grad_dot", *FAST, f"output_dir={trained.path}")


OLD_POINTS: dict[str, tuple[list[str], str]] = {
    "influential": ([], "influential"),
    "all": (["removals=all"], "all"),
    "random": (["removals=random", "removals.count=7", "removals.seed=2"], "random"),
    "indices": (["removals=indices", "removals.indices=[3,8]"], "[3, 8]"),
}


@pytest.mark.parametrize("kind", OLD_POINTS)
def test_the_removals_of_an_old_run_folder_are_read(trained: RunFolder, kind: str) -> None:
    overrides, points = OLD_POINTS[kind]
    values = compose([*FAST, *overrides]).values
    old = {key: value for key, value in values.items() if key != "removals"}
    old["retrain"] = values["retrain"] | {"points": json.loads(points) if points[0] == "[" else points}
    old["retrain"] |= {"num_random": 7, "seed": 2}
    write_text_result(trained, trained.config, OmegaConf.to_yaml(OmegaConf.create(old)))
    assert recorded_config(trained).values == values


@pytest.mark.parametrize("points", ["nosuch", "{a: 1}", "null", "[]", "[-1]"])
def test_what_an_old_run_folder_never_held_is_refused(trained: RunFolder, points: str) -> None:
    values = compose(list(FAST)).values
    old = {key: value for key, value in values.items() if key != "removals"}
    old["retrain"] = values["retrain"] | {"points": yaml.safe_load(points), "num_random": 1, "seed": 0}
    write_text_result(trained, trained.config, OmegaConf.to_yaml(OmegaConf.create(old)))
    with pytest.raises(UsageError, match="indices"):
        recorded_config(trained)


def test_a_setting_of_an_own_solver_may_have_such_a_name(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("own")
    (folder / "influence").mkdir()
    (folder / "influence" / "few.yaml").write_text("_target_: few.Few\ntop_k: 3\n")
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(folder))
    config = compose(["influence=few", "influence.top_k=4", "top_k=9"])
    assert (config["influence"]["top_k"], config.top_k) == (4, 9)
