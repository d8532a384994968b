"""Every key of the configuration is known to change θ̂, the predictions, the selection, or none of them."""

import functools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from erm.settings import settings_of_class
from repro.configuration.compose import compose, compose_methods, groups
from repro.configuration.declared import declared
from repro.configuration.files import TARGET, config_files
from repro.configuration.schema import Top, settings_of_group
from repro.configuration.tree import file_settings
from repro.errors import UsageError
from repro.folder.naming import NOT_DETERMINING, determining
from tests.command_line import FAST, repro, succeed

SELECTS = {
    "test_index", "top_k", "removals.count", "removals.seed", "removals.indices", "removals.sizes",
    "removals.keep", "removals.path", "removals.smallest", "removals.largest", "removals.num_sizes",
    "removals.per_size", "removals.most", "retrain.l2_scaling", "retrain.steps", "retrain.damping",
    "retrain.order_seed",
}  # fmt: skip
CHANGES_NOTHING = {
    # Where and how fast, not what.
    "output_dir", "device", "data.root", "retrain.gpus", "retrain.shard", "retrain.timeout_minutes",
    "retrain.batch_size", "retrain.precision",
    # Weights say for themselves how good they are, and `retrain` says when that is not good enough.
    "retrain.tolerance",
    "plot.limits", "plot.titles", "plot.style", "plot.formats", "plot.beside", "compare.settings",
    # Which methods are computed; each is what it is by its own settings.
    "methods",
}  # fmt: skip


def all_keys() -> set[str]:
    """Every key that is declared, with its group."""
    keys = set(settings_of_class(Top))
    for group, files in config_files().items():
        named = {target for path in files.values() for target in TARGET.findall(path.read_text("utf-8"))}
        found = [declared(target) for target in named] if named else [settings_of_group(group) or {}]
        keys |= {f"{group}.{key}" for settings in found for key in settings}
    return keys


def test_every_key_is_accounted_for() -> None:
    determines_theta = {key for key in all_keys() if key.split(".")[0] in ("data", "model", "fit")}
    determines_theta -= {".".join(pair) for pair in NOT_DETERMINING}
    solver = {key for key in all_keys() if key.startswith("influence.")}
    sets = [determines_theta, solver, SELECTS, CHANGES_NOTHING]
    # A key that was added and is in none of these, or in two, fails here: say what it changes.
    assert sorted(key for part in sets for key in part) == sorted(all_keys())


OTHER: dict[str, Any] = {
    "path": "other.npz", "hvp": "double_backward", "optimiser": "adam", "precision": "float64",
    "preconditioner": "none", "bias": True, "allow_divergence": True, "num_train": 123, "activation": "gelu",
    "correction": "none",
}  # fmt: skip


def other_value(key: str, value: Any) -> Any:
    if key in OTHER:
        return OTHER[key]
    return (
        value / 2 if isinstance(value, float) and value else (0.5 if isinstance(value, float) else value + 1)
    )


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in ("data", "model", "fit") for name in groups()[group]]
)
def test_keys_that_change_theta_change_what_names_it(group: str, name: str) -> None:
    base = [f"{group}={name}", *(["data.path=mine.npz"] if name == "npz" else [])]
    before = compose(base)
    keys = {key for key in before[group] if key != "_target_" and (group, key) not in NOT_DETERMINING}
    assert {
        key
        for key in keys
        if determining(compose([*base, f"{group}.{key}={other_value(key, before[group][key])}"]).values)
        != determining(before.values)
    } == keys


SOLVER_KEYS = [
    (name, key)
    for name, path in config_files()["influence"].items()
    for key in file_settings(path)
    if key != "_target_"
]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every method's predictions, at settings that take no time."""
    folder = tmp_path_factory.mktemp("predicted") / "run"
    overrides = [*FAST, f"output_dir={folder}"]
    succeed("train", *overrides)
    for method in groups()["influence"]:
        succeed("influence", "--method", method, *overrides, *settings_of(method))
    return folder


def settings_of(method: str) -> list[str]:
    return {"lissa": ["influence.depth=100"], "lissa_auto": ["influence.target=0.5"]}.get(method, [])


@functools.cache
def usual(method: str) -> dict[str, Any]:
    return compose([*FAST, f"influence={method}", *settings_of(method)]).solver_settings


@pytest.mark.parametrize(("method", "key"), SOLVER_KEYS)
def test_predictions_of_other_settings_are_refused_with_both_values(
    predicted: Path, method: str, key: str
) -> None:
    overrides = [*FAST, f"output_dir={predicted}", f"influence={method}", *settings_of(method)]
    value = usual(method)[key]
    other = other_value(key, value)
    asked_for = compose([*overrides, f"influence.{key}={other}"])["influence"][key]
    result = repro("plot", *overrides, f"influence.{key}={other}")
    assert result.exit_code == 1
    assert f"influence.{key}: {value} there, {asked_for} asked for" in result.stderr


@pytest.mark.slow
def test_selections_are_kept_apart(tmp_path: Path) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run", "--method", "cg"]
    seen = set()
    for selection in (
        ["top_k=7"],
        ["top_k=8"],
        ["removals=indices", "removals.indices=[3,4]"],
        ["removals=random", "removals.count=5"],
        ["removals=random", "removals.count=6"],
        ["removals=random", "removals.count=5", "removals.seed=1"],
        ["top_k=7", "test_index=3"],
    ):
        succeed("run", *overrides, *selection)
        table = pd.read_csv(tmp_path / "run" / "leave_one_out.csv")
        seen.add(tuple(sorted(zip(table["test_index"], table["train_index"], strict=True))))
    assert len(seen) == 7


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("retrain.top_k=5", "top_k"),
        ("experiment.top_k=5", "top_k"),
        ("l2=0.1", "model.l2"),
        ("model.l3=0.1", "model.l2"),
    ],
)
def test_a_key_in_the_wrong_place_is_answered_with_one_that_can_be_typed(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"there is no key {typed.partition('=')[0]}. Did you mean") as found:
        compose([typed])
    suggested = str(found.value).split("Did you mean ")[1].rstrip("?").split(" or ")
    assert suggested[0] == meant
    compose([f"{meant}={typed.partition('=')[2]}"])


@pytest.mark.parametrize(
    ("chosen", "typed"),
    [
        (["data=digits"], "data.num_trian"),
        (["data=digits"], "data.num_test"),
        (["data=npz", "data.path=mine.npz"], "data.num_test"),
        (["model=network"], "fit.maxiter"),
        ([], "model.hiden_units_l2"),
    ],
)
def test_only_keys_that_the_chosen_files_have_are_suggested(chosen: list[str], typed: str) -> None:
    meant = refused([*chosen, f"{typed}=3"]).split("Did you mean ")[1].rstrip("?").split(" or ")
    values = compose(chosen).values
    there = {f"{group}.{key}" for group, node in values.items() if isinstance(node, dict) for key in node}
    assert set(meant) <= there


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["data=digits", "data.pth=3"],
            "there is no key data.pth. Did you mean data.path, which data=npz has",
        ),
        (["data=digits", "data.path=3"], "no setting of data=digits, which is chosen here; data=npz has it"),
        (["fit.steps=3"], "no setting of fit=newton, which is chosen here; fit=adam and fit=sgd have it"),
        (
            ["influence=cg", "influence.correction=adjoint"],
            "no setting of influence=cg, which is chosen here; influence=newton_step has it",
        ),
    ],
)
def test_a_setting_of_another_choice_is_answered_with_that_choice(words: list[str], said: str) -> None:
    assert said in refused(words)


def test_a_setting_of_another_method_is_answered_with_the_option_that_chooses_it() -> None:
    with pytest.raises(UsageError, match="of --method cg, which is chosen here; --method newton_step has it"):
        compose(["influence.correction=adjoint"], "cg")
    with pytest.raises(UsageError, match=r"none of the methods cg, exact .*; --method newton_step has it"):
        compose_methods(["influence.correction=adjoint"], ["cg", "exact"])


def refused(words: list[str]) -> str:
    with pytest.raises(UsageError) as found:
        compose(words)
    return str(found.value)
