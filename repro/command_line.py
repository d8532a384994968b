"""The command lines that messages tell people to type."""

import shlex

from repro.configuration.compose import Config


def command(stage: str, config: Config, *options: str) -> str:
    """The command line that runs a stage under the same configuration."""
    overrides = [text for text in config.overrides if not (options and text.startswith("influence="))]
    return shlex.join(["repro", stage, *options, *overrides])
