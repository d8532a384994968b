"""What all commands have in common: how they speak, and the exit code that an exception turns into."""

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, overload

import typer

from cli.console import complain, is_json, speaking
from cli.help import HelpfulGroup
from cli.options import LogJson, Quiet, TrustCode
from parallel.children import started_by_command
from repro.configuration.command_words import wrong_word
from repro.errors import StageError, TerminatedError, UsageError

Command = Callable[..., None]
COMMANDS: list[Command] = []
"""All that were made, in the order of their files and in them, which is that of `repro --help`."""


@overload
def command(function: Command) -> Command: ...


@overload
def command(*, quiet: bool, opens_folder: bool) -> Callable[[Command], Command]: ...


def command(
    function: Command | None = None, *, quiet: bool = True, opens_folder: bool = True
) -> Command | Callable[[Command], Command]:
    """Make a function a command, with the options that all have, and exceptions as messages and exit codes.

    Args:
        function: does the work; its parameters are the command's own options and arguments.
        quiet: whether it takes --quiet; not where the lines are all there is of the result.
        opens_folder: whether it reads run folders, and so takes --trust-code.
    """
    if function is None:
        return functools.partial(_as_command, quiet=quiet, opens_folder=opens_folder)
    return _as_command(function, quiet=quiet, opens_folder=opens_folder)


def _as_command(function: Command, quiet: bool, opens_folder: bool) -> Command:
    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> None:
        manner = {name: options.pop(name, False) for name in ("quiet", "log_json")}
        trusted = options.pop("trust_code", None) or []

        def work() -> None:
            from repro.folder.trust import trusting

            with trusting(trusted):
                function(*arguments, **options)

        with speaking(**manner):
            _run(work)

    # Typer reads the options off the signature.
    own = inspect.signature(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    added: list[tuple[str, object, object]] = [("log_json", LogJson, False)]
    if quiet:
        added.insert(0, ("quiet", Quiet, False))
    if opens_folder:
        added.append(("trust_code", TrustCode, None))
    more = [
        inspect.Parameter(name, keyword, default=default, annotation=kind) for name, kind, default in added
    ]
    wrapped.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]
    COMMANDS.append(wrapped)
    return wrapped


def _run(work: Callable[[], None]) -> None:
    """Do the work; turn the project's own exceptions into a message on stderr and an exit code."""
    try:
        work()
    except UsageError as error:
        complain(str(error), 2)
        raise typer.Exit(2) from error
    except StageError as error:
        complain(str(error), 1)
        raise typer.Exit(1) from error
    except OSError as error:
        complain(f"{error.filename or 'file system'}: {error.strerror or error}", 1)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        _say_ended("interrupted", 130)
        raise typer.Exit(130) from error
    except TerminatedError as error:
        _say_ended("terminated", 143)
        raise typer.Exit(143) from error


def _say_ended(how: str, exit_code: int) -> None:
    if not started_by_command():
        complain(
            f"{how}. Finished stages and batches are kept; the same command goes on from there", exit_code
        )


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
