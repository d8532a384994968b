"""Composing a configuration, imported when a command runs: `--help` answers sooner without Hydra."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.configuration.compose import Config


def compose(overrides: list[str], method: str | None = None) -> "Config":
    """`repro.configuration.compose.compose`."""
    from repro.configuration.compose import compose as composed

    return composed(overrides, method)


def compose_run(overrides: list[str], methods: list[str]) -> "list[Config]":
    """One configuration per method of `repro run`: those that are named, else those of the key `methods`."""
    config = None if methods else compose(overrides)
    if config is not None and (config.names_method or not config["methods"]):
        return [config]
    return compose_methods(overrides, methods if config is None else config["methods"])


def compose_methods(overrides: list[str], methods: list[str]) -> "list[Config]":
    """`repro.configuration.compose.compose_methods`."""
    from repro.configuration.compose import compose_methods as composed

    return composed(overrides, methods)
