"""Which version of the tool this is."""

from importlib.metadata import version

PROJECT = "leave-one-out-reproducer"


def tool_version() -> str:
    """Of the installed package."""
    return version(PROJECT)
