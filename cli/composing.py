"""Composing a configuration, imported when a command runs: `--help` answers sooner without Hydra."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.configuration.compose import Config


def compose(overrides: list[str], method: str | None = None) -> "Config":
    """`repro.configuration.compose.compose`."""
    from repro.configuration.compose import compose as composed

    return composed(overrides, method)


def compose_run(overrides: list[str], methods: list[str]) -> "list[Config]":
    """`repro.configuration.compose.compose_run`."""
    from repro.configuration.compose import compose_run as composed

    return composed(overrides, methods)


def compose_methods(overrides: list[str], methods: list[str]) -> "list[Config]":
    """`repro.configuration.compose.compose_methods`."""
    from repro.configuration.compose import compose_methods as composed

    return composed(overrides, methods)
