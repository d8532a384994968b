"""The shortest overrides that lead to a configuration, wherever it was read from."""

from repro.configuration.compose import Config, compose
from repro.configuration.grammar import override

CHOSEN = ("data", "model", "fit", "influence", "removals")
"""Groups whose files differ by more than values."""


def shortest_overrides(config: Config) -> list[str]:
    """The words that were typed; in place of a run folder among them, all that its configuration changes."""
    if all("=" in word for word in config.overrides):
        return list(config.overrides)
    usual = compose([])
    choices = [
        f"{group}={config.choices[group]}"
        for group in CHOSEN
        if config.choices[group] != usual.choices[group]
    ]
    # A choice brings values of other groups along, such as the test point of a data set.
    chosen = compose([*choices, *_required(config)])
    return [*choices, *_different(config, chosen)]


def _required(config: Config) -> list[str]:
    """What a choice cannot be composed without, whatever it is in the end."""
    return [override(f"data.{key}", value) for key, value in config["data"].items() if key == "path"] + [
        override(f"removals.{key}", value) for key, value in config["removals"].items() if key == "indices"
    ]


def _different(config: Config, chosen: Config) -> list[str]:
    required = [*_required(config)]
    found = []
    for group, node in config.values.items():
        if not isinstance(node, dict):
            if node != chosen.values[group]:
                found.append(override(group, node))
            continue
        for key, value in node.items():
            if value != chosen[group].get(key) and key != "_target_":
                found.append(override(f"{group}.{key}", value))
    return [*required, *found]
