"""What is easily typed wrong, and the line that says how it is written."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from erm.paths import expanded
from repro.configuration.files import config_files, groups

TOP_KEYS = ("output_dir", "device", "test_index", "top_k", "methods")
LISTS = ("test_index", "removals.indices", "plot.formats", "plot.beside", "compare.settings", "methods")
"""Keys that take several values."""
IDX_FILE = "train-images-idx3-ubyte"
MOST_NAMED = 5
GONE = {
    "influence.preconditioner=subsample": "gone; take kronecker, the default: the answer is the same to "
    "influence.tolerance",
}
"""Values that there were once, and what to take now."""
LAUNCHERS = {name: f"hydra-{name}-launcher" for name in ("joblib", "ray", "rq", "submitit")}
"""Packages of Hydra's own plugins, by the first word of what they are called by."""
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


def no_override(word: str) -> str:
    """Why a word is not KEY=VALUE, and what was perhaps meant."""
    wrong = f"{word!r} is not KEY=VALUE"
    if found := _choices(word):
        return f"{wrong}: {found}"
    if word.endswith(".npz"):
        return f"{wrong}: a file of your own is read with data=npz data.path={word}"
    if word.count("[") > word.count("]"):
        return f"{wrong}: a list has no spaces, and quotes around it, such as 'test_index=[3,8]'"
    if meant := _badly_joined(word):
        return f"{wrong}: {meant}"
    if is_key(word):
        return f"{wrong}: there is no space around =, such as {word}=VALUE"
    if close := difflib.get_close_matches(
        word, [name for names in groups().values() for name in names], 1, 0.7
    ):
        return f"{wrong}: did you mean {_written(close[0])}?"
    if Path(word).is_dir():
        return f"{wrong}: a sweep makes run folders of its own, where --out says"
    return f"{wrong}, such as model.l2=0.1" + ("" if "=" in word else f", and there is no folder {word} here")


def _badly_joined(word: str) -> str | None:
    """How a key and its value are written that something else than one = stands between, or in the value."""
    found = re.fullmatch(r"(?P<key>[\w.]+(:\w+(?==))?)(?P<between>\s*[=:]+\s*)(?P<value>[^=:\s].*)", word)
    if found is None or not is_key(key := found["key"].replace(":", ".")):
        return None
    value, between = found["value"], found["between"]
    if ":" in found["key"]:
        return f"a key is given its value by =, and its parts are joined by a point: {key}={value}"
    if between == "=" and (items := re.fullmatch(r"\((.*)\)", value)):
        return f"a list is written in brackets: '{key}=[{items[1]}]'"
    if between == "=" and (items := re.fullmatch(r"\[(.*)\]", value)):
        parts = (part.strip() for part in items[1].split(","))
        quoted = ",".join(f'"{part}"' if " " in part else part for part in parts)
        return f"an item with a space has quotes of its own: '{key}=[{quoted}]'"
    rule = {"=": "there is no space around =", ":": "a key is given its value by ="}
    return f"{rule.get(between.strip(), 'a key is given its value by one =')}: {key}={value}"


def _choices(word: str) -> str | None:
    """How a word that is the name of a choice is written; None for other words."""
    if word in groups()["influence"]:
        return f"a method is chosen with {_written(word)}"
    return f"it is written {_written(word)}" if _written(word) else None


def _written(name: str) -> str:
    """A choice as it is typed; empty where no group has it."""
    found = [group for group, names in groups().items() if name in names]
    return " or ".join(f"--method {name}" if group == "influence" else f"{group}={name}" for group in found)


def several_values(key: str, text: str) -> str:
    """Why KEY=a,b is not one configuration, and how what was perhaps meant is written."""
    values = text.partition("=")[2]
    if key in LISTS:
        return f"{text}: a list is written in brackets: '{key}=[{values}]'"
    if re.fullmatch(r"\d+,\d+", values):
        point = values.replace(",", ".")
        return f"{text}: a number has a decimal point: {key}={point}; `repro sweep` runs several values"
    return f"{text}: several values are not one configuration; `repro sweep` runs one after the other"


def no_such_value(key: str, value: Any) -> str | None:
    """What became of a value that there was once, or how a list is written that was typed as text."""
    if key in LISTS and isinstance(value, str) and value:
        if re.fullmatch(r"\[.*\]", value):
            return f"the quotes go around the whole word: '{key}={value}'"
        if key != "test_index" or re.fullmatch(r"\d+(\s+\d+)+", value):
            return f"a list is written in brackets: '{key}=[{','.join(value.split())}]'"
    return GONE.get(f"{key}={value}")


def no_choice(group: str, name: str) -> str | None:
    """What was perhaps meant by a choice that a group does not have."""
    if group == "data" and name.endswith(".npz"):
        return f"data={name}: a file of your own is read with data=npz data.path={name}"
    return None


def no_method(name: str) -> str | None:
    """What was perhaps meant by a method that there is not."""
    known, parts = groups()["influence"], name.split(",")
    if "=" in name:
        return f"--method: the name of the method is missing before {name}"
    if len(parts) > 1 and set(parts) <= set(known):
        return f"--method {name}: the option is given once a method: " + " ".join(
            f"--method {part}" for part in parts
        )
    if name.lower() in known:
        return f"--method {name}: the name is {name.lower()}"
    return None


def no_value(key: str, choices: Mapping[str, str]) -> str:
    """Which key a choice cannot do without."""
    group = key.partition(".")[0]
    return f"{key} has no value, and {group}={choices.get(group, '…')} needs one: add {key}=VALUE"


def no_run(path: Path, manifest: str) -> str:
    """Why a folder is no run folder, and which ones are in it."""
    wrong = f"{path} holds no run: there is no {manifest}"
    if path.is_file():
        return f"{path} is a file; name the run folder, such as {path.parent}"
    found = sorted(str(file.parent) for depth in ("*", "*/*") for file in path.glob(f"{depth}/{manifest}"))
    if not found and (choice := _written(str(path))):
        return f"{wrong}; if the choice is meant, it is written {choice}"
    if not found:
        return f"{wrong}; name a run folder, which `repro train` prints"
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"{wrong}. In it are the runs {', '.join(found[:MOST_NAMED])}{more}; name one"


def root_too_deep(data: Mapping[str, Any]) -> str | None:
    """Whether data.root is the folder of the files itself, or the one above it, and which to name."""
    root = expanded(str(data.get("root", ""))).absolute()
    for files, right in ((root / "raw", root.parent), (root, root.parent.parent)):
        if "root" in data and (files / IDX_FILE).is_file() and files.name == "raw":
            return (
                f"data.root={data['root']} is too deep: the files are in {files}, so give data.root={right}"
            )
    return None


def no_launcher(name: str, known: Sequence[str]) -> str:
    """Which package brings a launcher of Hydra's."""
    package = LAUNCHERS.get(name.split("_")[0])
    remedy = f"; the package {package} brings it" if package else ""
    return f"hydra/launcher={name}: no such launcher is installed{remedy}. There are: {', '.join(known)}"


def is_key(name: str) -> bool:
    """Whether a name is one that stands before =."""
    first = name.split(".")[0]
    return first in groups() or first in TOP_KEYS


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
