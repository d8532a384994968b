"""The listener of the command line: prints every result as it comes, and shows how far long work has come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.progress import progress_bar
from cli.words import figure, judging, scoring  # noqa: F401, which register what they say
from cli.words.registry import say_result
from repro.configuration.compose import Config
from repro.listener import Listener, Report

if TYPE_CHECKING:
    from repro.session import Session


class Terminal(Listener):
    """Prints."""

    def result(self, found: object) -> None:
        say_result(found)

    @contextmanager
    def progress(self, task: str) -> Iterator[Report]:
        with progress_bar(task) as bar:
            yield bar.update


def session_of(config: Config) -> Session:
    """A session whose work the terminal shows."""
    # It brings torch along, which not every command needs.
    from repro.session import Session

    return Session(config, Terminal())
