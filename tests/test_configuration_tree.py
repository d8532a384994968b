"""Values put into a tree that is kept: what Hydra makes of the same overrides, and none of it remembered."""

from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from repro.configuration.files import CONFIG_FOLDER
from repro.configuration.tree import composed_tree

OVERRIDES = [
    [],
    ["data=digits", "output_dir=/tmp/a", "top_k=40"],
    ["experiment=groups2019", "test_index=[3,5]"],
    ["++other=1", "removals=random_groups", "removals.sizes=[0.1,0.2]"],
    ["top_k=7", "influence=cg", "influence.damping=1e-2", "influence=exact"],
    ["model=network", "fit.tolerance=1e-9", "retrain=quadratic"],
    ["output_dir='a folder, of=mine'", "test_index=null", "plot.titles={cg: A, lissa: B}"],
    ["methods=[cg,exact]", "device=cpu"],
]


def of_hydra(overrides: list[str]) -> tuple[Any, dict[str, str]]:
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        tree = hydra_compose("config", overrides=overrides, return_hydra_config=True)
    plain: Any = OmegaConf.to_container(tree, resolve=False)
    choices = plain.pop("hydra")["runtime"]["choices"]
    return plain, {key: str(value) for key, value in choices.items() if not key.startswith("hydra/")}


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_it_is_what_hydra_composes_whatever_was_asked_for_before(overrides: list[str]) -> None:
    for before in OVERRIDES:
        composed_tree(before)
    found = composed_tree(overrides)
    plain, choices = of_hydra(overrides)
    assert OmegaConf.to_container(found.values, resolve=False) == plain
    assert found.choices == choices


def test_no_experiment_may_be_asked_for_and_the_last_word_counts() -> None:
    plain = composed_tree(["data=digits"])
    for words in (["experiment=null"], ["experiment=report", "experiment=null"]):
        found = composed_tree(["data=digits", *words])
        assert (found.values, found.choices) == (plain.values, plain.choices)
    found = composed_tree(["experiment=null", "experiment=groups2019"])
    assert found.choices["experiment"] == "groups2019"


@pytest.mark.parametrize(
    "wrong", ["top_q=3", "+top_k=3", "top_k@here=3", "fit.nothing=1", "model.l2.deeper=1"]
)
def test_what_hydra_refuses_is_refused_in_its_words(wrong: str) -> None:
    with pytest.raises(HydraException) as of_kept:
        composed_tree(["data=digits", wrong])
    with pytest.raises(HydraException) as expected:
        of_hydra(["data=digits", wrong])
    assert str(of_kept.value) == str(expected.value)
