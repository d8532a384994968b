"""What all commands have in common: how they speak, and the exit code that an exception turns into."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from cli.console import complain, is_json, speaking
from cli.help import HelpfulGroup
from cli.options import LogJson, Quiet, TrustCode
from parallel.children import started_by_command
from repro.configuration.mistakes import wrong_word
from repro.errors import StageError, TerminatedError, UsageError

Command = Callable[..., None]
COMMANDS: list[Command] = []
"""All that were made, in the order of their files and in them, which is that of `repro --help`."""


def command(function: Command, *, quiet: bool = True, opens_folder: bool = True) -> Command:
    """Make a function a command, with the options that all have, and exceptions as messages and exit codes.

    Args:
        function: does the work; its parameters are the command's own options and arguments.
        quiet: whether it takes --quiet; not where the lines are all there is of the result.
        opens_folder: whether it reads run folders, and so takes --trust-code.
    """

    @functools.wraps(function)
    def wrapped(
        quiet: bool = False, log_json: bool = False, trust_code: Sequence[str] | None = None, **own: Any
    ) -> None:
        with speaking(quiet=quiet, log_json=log_json), _exit_codes():
            from repro.folder.trust import trusting

            with trusting(trust_code or []):
                function(**own)

    # Typer reads the options off the signature.
    signature = inspect.signature(function)
    common = (
        ("quiet", Quiet, False, quiet),
        ("log_json", LogJson, False, True),
        ("trust_code", TrustCode, None, opens_folder),
    )
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, kind, default, wanted in common
        if wanted
    ]
    parameters = [*signature.parameters.values(), *added]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    COMMANDS.append(wrapped)
    return wrapped


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn the project's own exceptions into a message on stderr and an exit code."""
    try:
        yield
        return
    except UsageError as error:
        line, exit_code = str(error), 2
    except StageError as error:
        line, exit_code = str(error), 1
    except OSError as error:
        line, exit_code = f"{error.filename or 'file system'}: {error.strerror or error}", 1
    except KeyboardInterrupt:
        line, exit_code = _ended("interrupted"), 130
    except TerminatedError:
        line, exit_code = _ended("terminated"), 143
    if line:
        complain(line, exit_code)
    raise typer.Exit(exit_code)


def _ended(how: str) -> str:
    """What is said of it, once for all processes of a command."""
    goes_on = f"{how}. Finished stages and batches are kept; the same command goes on from there"
    return "" if started_by_command() else goes_on


class Commands(HelpfulGroup):
    """All commands. With --log-json, the errors that Typer itself finds are JSON objects too."""

    def _options(self) -> dict[str, list[str]]:
        """What each command's options are typed as."""
        return {
            name: ["--help", *(text for given in found.params for text in given.opts)]
            for name, found in self.commands.items()
        }

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        with speaking(quiet=False, log_json="--log-json" in given):
            if (wrong := wrong_word(given, self._options())) is not None:
                complain(wrong, 2)
                sys.exit(2)
            if not is_json():
                return super().main(args, *rest, **settings)
            try:
                ended = super().main(args, *rest, **settings | {"standalone_mode": False})
            except Exception as error:
                # Typer's usage errors have no public base class that all of its versions share.
                if not hasattr(error, "format_message"):
                    raise
                ended = int(getattr(error, "exit_code", 2))
                complain(str(error.format_message()), ended)
            sys.exit(ended or 0)
