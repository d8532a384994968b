"""What a command begins with, imported when it runs: `--help` answers sooner without Hydra and torch."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repro.configuration.compose import Config
    from repro.session import Session


def compose(overrides: Iterable[str] | None, method: str | None = None, gpus: int | None = None) -> "Config":
    """The configuration of what was typed; --method and --gpus are short for two of its keys."""
    return compose_methods(overrides, [method] if method else [], gpus)[0]


def compose_methods(
    overrides: Iterable[str] | None, methods: list[str] | None, gpus: int | None = None
) -> "list[Config]":
    """One configuration per method that is named."""
    from repro.configuration.compose import compose_methods as composed

    short = [] if gpus is None else [f"retrain.gpus={gpus}"]
    return composed([*(overrides or []), *short], list(methods or []))


def session_of(config: "Config") -> "Session":
    """A session whose work the terminal shows."""
    from cli.terminal import Terminal
    from repro.session import Session

    return Session(config, Terminal())
