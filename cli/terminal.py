"""The listener of the command line: prints every result as it comes, and shows how far long work has come."""

from collections.abc import Iterator
from contextlib import contextmanager

from cli.progress import progress_bar
from cli.words import figure, judging, scoring  # noqa: F401, which register what they say
from cli.words.registry import say_result
from repro.listener import Listener, Report


class Terminal(Listener):
    """Prints."""

    def result(self, found: object) -> None:
        say_result(found)

    @contextmanager
    def progress(self, task: str) -> Iterator[Report]:
        with progress_bar(task) as bar:
            yield bar.update
