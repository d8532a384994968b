"""The runs whose panels stand beside those of a run, as `plot.beside` names them."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from repro.configuration.address import settings_as_overrides, split_words
from repro.configuration.compose import Config, compose, parse_overrides
from repro.configuration.grammar import override
from repro.configuration.shortest import overrides_of
from repro.configuration.validation import MADE_OF
from repro.errors import UsageError
from repro.folder.naming import determining, folder_beside, run_folder


def runs_beside(config: Config, targets: Sequence[int] | None = None) -> list[Config]:
    """Their configurations: each is this one with other words, or that of the run folder it names.

    A group that is chosen anew starts from its file; the rest is as here, the test points too. Where this run
    has a folder FOLDER of the user's choice, the other one has FOLDER-NAME, such as FOLDER-network.

    Args:
        config: of the run.
        targets: its test points, where it asks for the first misclassified one: another model has another.

    Raises:
        UsageError: what is named is no configuration, or that of this very run.
    """
    found = [_one_beside(config, text, targets) for text in config["plot"]["beside"]]
    placed = [_placed(config, name, other) for name, other in zip(_names(config, found), found, strict=True)]
    return [replace(other, overrides=tuple(overrides_of(other))) for other in placed]


def _one_beside(config: Config, text: str, targets: Sequence[int] | None) -> Config:
    try:
        words = shlex.split(text)
        other = compose(words if split_words(words).folder is not None else _with(config, words, targets))
    except (UsageError, ValueError) as error:
        raise UsageError(f"plot.beside={text!r}: {error}") from error
    here, there = run_folder(config).path, run_folder(other).path
    is_named = other["output_dir"] is not None
    if here == there or (not is_named and determining(config.values) == determining(other.values)):
        raise UsageError(
            f"plot.beside names this very run, {here}. Its methods are panels already: --method chooses them"
        )
    alone = other.values | {"methods": [], "plot": other["plot"] | {"beside": []}}
    return replace(other, values=alone, overrides=())


def _names(config: Config, others: Sequence[Config]) -> list[str]:
    """Of each run: one name for one θ̂, numbered from the second θ̂ on, so that one more renames none."""
    known, names = dict[str, list[dict[str, Any]]](), list[str]()
    for other in others:
        name, theta = _name(config, other), determining(other.values)
        same = known.setdefault(name, [])
        if theta not in same:
            same.append(theta)
        place = same.index(theta) + 1
        names.append(name if place == 1 else f"{name}-{place}")
    return names


def _name(config: Config, other: Config) -> str:
    """What is particular about another run: its model, data or fit; a word where only values differ."""
    different = (g for g in ("model", "data", "fit") if other.choices[g] != config.choices[g])
    return next((other.choices[group] for group in different), "beside")


def _placed(config: Config, name: str, other: Config) -> Config:
    if other["output_dir"] is not None or (path := folder_beside(config, name, other)) is None:
        return other
    return replace(other, values=other.values | {"output_dir": str(path)})


def _with(config: Config, words: Sequence[str], targets: Sequence[int] | None) -> list[str]:
    chosen = {str(found.key_or_group) for found in parse_overrides(list(words))}
    if "output_dir" in chosen:
        raise UsageError(
            "another run's folder is not chosen here; name one that is there in place of KEY=VALUE"
        )
    kept = {
        group: node for group, node in config.values.items() if group not in MADE_OF or group not in chosen
    }
    if targets is not None:
        kept["test_index"] = list(targets)
    choices = [override(group, config.choices[group]) for group in MADE_OF if group in kept]
    return [*choices, *settings_as_overrides(kept), *words]
