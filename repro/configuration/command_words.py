"""Words of a command line that are none: what was meant, where Typer would only call them unknown."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from repro.configuration.files import config_files
from repro.configuration.mistakes import is_key

SAYING = ("--quiet", "--log-json")
"""Options of the commands that are often given before the command."""
OTHER_NAMES = {"out": "output_dir", "output": "output_dir", "lambda": "model.l2"}
"""Keys by the names that other programs have for them."""
NOT_HERE = {
    "help": "there is no command help; `repro --help` shows all commands, `repro COMMAND --help` one",
    "version": "there is no command version; it is `repro --version`",
    "-v": "there is no option -v; it is `repro --version`",
    "-V": "there is no option -V; it is `repro --version`",
    "-h": "there is no option -h; it is `repro --help`",
}
"""What other programs begin with."""


def wrong_word(words: Sequence[str], commands: Mapping[str, Collection[str]]) -> str | None:
    """What is wrong with a command line; None where Typer may judge.

    Args:
        words: after `repro`.
        commands: the options of each command, as they are typed.
    """
    first, second = [*words, "", ""][:2]
    if first in SAYING:
        command = second or "run"
        return f"{first} comes after the command, such as: repro {command} {first}"
    if first in NOT_HERE:
        return NOT_HERE[first]
    if first in commands and second in commands and not Path(second).is_dir():
        return f"{second!r}: one command at a time: repro {first} …, then repro {second} …"
    return _key_with_dashes(words, commands.get(first, ()))


def _key_with_dashes(words: Sequence[str], options: Collection[str]) -> str | None:
    for place, word in enumerate(words):
        if word == "--":
            return None
        option, equals, value = word.partition("=")
        if not word.startswith("--") or option in options:
            continue
        following = value if equals else words[place + 1] if place + 1 < len(words) else "VALUE"
        if found := _keys_called(option.removeprefix("--").replace("-", "_")):
            written = " or ".join(f"{key}={following}" for key in found)
            return f"{word}: a key is written without dashes: {written}"
    return None


def _keys_called(name: str) -> list[str]:
    """The keys that an option was perhaps meant for; none where there are none."""
    if name in OTHER_NAMES or is_key(name):
        return [OTHER_NAMES.get(name, name)]
    line = re.compile(rf"^\s*{re.escape(name)}:", re.MULTILINE)
    return [
        f"{group}.{name}"
        for group, files in config_files().items()
        if group != "experiment" and any(line.search(path.read_text("utf-8")) for path in files.values())
    ]
