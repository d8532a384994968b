"""The shortest overrides that lead to a configuration, wherever it was read from."""

from repro.configuration.compose import Config, compose
from repro.configuration.grammar import override
from repro.configuration.validation import MADE_OF


def shortest_overrides(config: Config) -> list[str]:
    """The words that were typed; in place of a run folder among them, all that its configuration changes."""
    typed = all("=" in word for word in config.overrides)
    return list(config.overrides) if typed else overrides_of(config)


def overrides_of(config: Config) -> list[str]:
    """All that a configuration changes, however it came about."""
    required = _required(config)
    choices = list[str]()
    for group in MADE_OF:
        # A choice brings others along, such as the fit of a model.
        needed = [word for word in required if word.split(".")[0] in {c.split("=")[0] for c in choices}]
        if (name := config.choices[group]) != compose([*choices, *needed]).choices[group]:
            choices.append(f"{group}={name}")
    # A choice brings values of other groups along, such as the test point of a data set.
    chosen = compose([*choices, *required])
    return [*choices, *required, *_different(config, chosen)]


def _required(config: Config) -> list[str]:
    """What a choice cannot be composed without."""
    keys = (("data", "path"), ("removals", "indices"), ("removals", "path"))
    return [override(f"{group}.{key}", config[group][key]) for group, key in keys if key in config[group]]


def _different(config: Config, chosen: Config) -> list[str]:
    """Every key whose value is another than in `chosen`."""
    found = []
    for group, node in config.values.items():
        if not isinstance(node, dict):
            found += [] if node == chosen.values[group] else [override(group, node)]
            continue
        changed = (
            key for key, value in node.items() if key != "_target_" and value != chosen[group].get(key)
        )
        found += [override(f"{group}.{key}", node[key]) for key in changed]
    return found
