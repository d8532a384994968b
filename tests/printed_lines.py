"""Finds every command line that the project prints: in documents, help, messages, Makefile and settings."""

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

from cli.main import app
from leave_one_out_reproducer import PACKAGES
from tests.command_line import PROJECT

PROGRAMS = (
    "repro", "make", "python", "torchrun", "pip", "pytest", "uv", "git", "docker", "podman", "mkdocs",
    "jupyter", "export",
)  # fmt: skip
"""What a command line starts with."""
CODE = (*PACKAGES, "benchmarks", "examples")
"""Folders whose strings a user may see."""
SHELL = ("", "sh", "bash", "shell", "console")
"""Languages of blocks of Markdown that may hold command lines."""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
FORMULA = re.compile(r"\$`.*?`\$")
COMMANDS = "|".join(get_command(app).commands)  # type: ignore[attr-defined]
BARE = re.compile(rf"\brepro (?:{COMMANDS}|--|…)[^\"<]*")
"""A command line that stands in a string without marks around it."""
ECHOED = re.compile(r"\bmake [\w=.]*\w|\brepro [\w -]*\w")


@dataclass(frozen=True, order=True)
class Printed:
    """A command line, and where it stands."""

    line: str
    where: str


@functools.cache
def printed_lines() -> list[Printed]:
    """All of them, in order, each as often as it is printed."""
    found = [*_in_documents(), *_in_help(), *_in_code(), *_in_settings(), *_in_makefile()]
    return sorted(set(_numbered(found)))


def _numbered(found: list[Printed]) -> Iterator[Printed]:
    """Lines that the program completes, told apart by a number: each place has its own test."""
    seen: Counter[Printed] = Counter()
    for printed in found:
        seen[printed] += 1
        completed = printed.line.endswith("{}")
        yield Printed(printed.line, f"{printed.where} #{seen[printed]}") if completed else printed


def documents() -> list[Path]:
    """The pages that a user reads."""
    named = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md")]
    return named + sorted([*(PROJECT / "docs").rglob("*.md"), *(PROJECT / "examples").rglob("*.md")])


def blocks(text: str, languages: tuple[str, ...]) -> list[str]:
    """What stands in the fenced blocks of a page in one of these languages."""
    return [block for language, block in FENCED.findall(text) if language in languages]


def spans() -> Iterator[tuple[str, str]]:
    """What stands between marks on the pages and in the strings of the code, and where."""
    for path in documents():
        text = FORMULA.sub("", FENCED.sub("", path.read_text(encoding="utf-8")))
        yield from ((str(path.relative_to(PROJECT)), span) for span in SPAN.findall(text))
    for folder in CODE:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for text in filter(None, map(_text, ast.walk(tree))):
                yield from ((str(path.relative_to(PROJECT)), span) for span in SPAN.findall(text))


def _in_documents() -> Iterator[Printed]:
    for path in documents():
        text, where = path.read_text(encoding="utf-8"), str(path.relative_to(PROJECT))
        for block in blocks(text, SHELL):
            for line in block.replace("\\\n", " ").splitlines():
                yield from _if_command(line.split("  #")[0], where)
        yield from _in_spans(FORMULA.sub("", FENCED.sub("", text)), where)


def _in_help() -> Iterator[Printed]:
    group = get_command(app)
    for name, command in {"": group, **group.commands}.items():  # type: ignore[attr-defined]
        where = f"repro {name} --help".replace("  ", " ")
        for line in command.help.splitlines():
            if line.startswith("    "):
                yield Printed(line.strip(), where)
        for text in (command.help, command.epilog, *(parameter.help for parameter in command.params)):
            yield from _in_spans(text or "", where)


def _in_code() -> Iterator[Printed]:
    for path in sorted(file for folder in CODE for file in (PROJECT / folder).rglob("*")):
        where = str(path.relative_to(PROJECT))
        if path.suffix in (".jinja", ".js", ".html"):
            for line in path.read_text(encoding="utf-8").splitlines():
                yield from (Printed(match[0].strip(), where) for match in BARE.finditer(line))
        if path.suffix == ".py":
            yield from _in_module(ast.parse(path.read_text(encoding="utf-8")), where)


def _in_module(tree: ast.Module, where: str) -> Iterator[Printed]:
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = None if id(node) in parts else _text(node)
        if text is not None:
            yield from _in_spans(text, where)
            # Help is read off the commands themselves.
            if not where.startswith(("cli/commands/", "cli/main.py")):
                yield from (Printed(match[0].strip(), where) for match in BARE.finditer(SPAN.sub("", text)))
        if isinstance(node, ast.Call) and _called(node) == "command":
            stages = (_text(stage) for stage in node.args[:1])
            yield from (Printed(f"repro {stage} {{}}", where) for stage in stages if stage is not None)
        if isinstance(node, ast.List) and node.elts and _text(node.elts[0]) == "repro":
            yield Printed("repro {}", where)


def _called(node: ast.Call) -> str:
    """The last part of the name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _text(node: ast.AST) -> str | None:
    """A string with {} for what is filled in; None for what is none."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _in_settings() -> Iterator[Printed]:
    files = [PROJECT / "pyproject.toml"]
    files += [file for folder in ("configs", "examples") for file in (PROJECT / folder).rglob("*.yaml")]
    for path in files:
        yield from _in_spans(path.read_text(encoding="utf-8"), str(path.relative_to(PROJECT)))


def _in_makefile() -> Iterator[Printed]:
    """What it echoes, and the project's own programs that it runs, which make prints too."""
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for line in text.splitlines():
        if "echo" in line:
            yield from (Printed(match[0], "Makefile") for match in ECHOED.finditer(line.split("echo", 1)[1]))
        elif line.startswith("\t"):
            command = re.sub(r"^\$\(BIN\)/|^\.venv-\w+/bin/", "", line.strip())
            if command.startswith(("repro ", "python -m ")):
                yield Printed(command, "Makefile")
    yield from _in_spans(text, "Makefile")


def _in_spans(text: str, where: str) -> Iterator[Printed]:
    for span in SPAN.findall(text):
        yield from _if_command(" ".join(span.split()), where)


def _if_command(text: str, where: str) -> Iterator[Printed]:
    """The text, if it starts with a program and says what it is to do."""
    line = re.sub(r"^(\$ |! ?)|\.venv/bin/", "", text.strip())
    words = line.split()
    if len(words) > 1 and words[0] in PROGRAMS:
        yield Printed(line, where)
