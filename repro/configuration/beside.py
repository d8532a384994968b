"""The runs whose panels stand beside those of a run, as `plot.beside` names them."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from repro.configuration.address import MADE, settings_as_overrides, split_words
from repro.configuration.compose import Config, compose, parse_overrides
from repro.configuration.grammar import override
from repro.configuration.shortest import overrides_of
from repro.errors import UsageError


def runs_beside(config: Config, targets: Sequence[int] | None = None) -> list[Config]:
    """Their configurations: each is this one with other words, or that of the run folder it names.

    A group that is chosen anew starts from its file; the rest is as here, the test points too. The folder is
    the one that the other configuration has by itself.

    Args:
        config: of the run.
        targets: its test points, where it asks for the first misclassified one: another model has another.

    Raises:
        UsageError: what is named is no configuration.
    """
    found = []
    for text in config["plot"]["beside"]:
        try:
            words = shlex.split(text)
            other = compose(words if split_words(words).folder is not None else _with(config, words, targets))
        except (UsageError, ValueError) as error:
            raise UsageError(f"plot.beside={text!r}: {error}") from error
        alone = other.values | {"methods": [], "plot": other["plot"] | {"beside": []}}
        other = replace(other, values=alone, overrides=())
        found.append(replace(other, overrides=tuple(overrides_of(other))))
    return found


def _with(config: Config, words: Sequence[str], targets: Sequence[int] | None) -> list[str]:
    chosen = {str(found.key_or_group) for found in parse_overrides(list(words))}
    if "output_dir" in chosen:
        raise UsageError(
            "another run's folder is not chosen here; name one that is there in place of KEY=VALUE"
        )
    kept = {group: node for group, node in config.values.items() if group not in MADE or group not in chosen}
    if targets is not None:
        kept["test_index"] = list(targets)
    choices = [override(group, config.choices[group]) for group in MADE if group in kept]
    return [*choices, *settings_as_overrides(kept), *words]
