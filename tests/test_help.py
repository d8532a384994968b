"""Help at 60, 80 and 120 columns: nothing is eaten or cut, prose fills its lines, examples can be copied."""

import itertools
import re
import subprocess
from typing import Any

import pytest
from rich.cells import cell_len
from typer.main import get_command

from cli.main import app
from tests.command_line import repro

GROUP: Any = get_command(app)
COMMANDS: dict[str, Any] = {"": GROUP, **GROUP.commands}
WIDTHS = (60, 80, 120)


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    columns: int = request.param
    monkeypatch.setenv("COLUMNS", str(columns))
    return columns


def shown(name: str) -> list[str]:
    """The lines of a command's help."""
    result = repro(*([name] if name else []), "--help")
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


def prose(lines: list[str]) -> list[str]:
    """What stands between the usage and the panels, without the margin."""
    ends = next(number for number, line in enumerate(lines) if line.startswith("╭"))
    start = next(number for number, line in enumerate(lines) if "Usage:" in line)
    blank = lines.index("", start)
    return [line.removeprefix(" ") for line in lines[blank:ends]]


def examples_of(text: str) -> list[str]:
    """The command lines of a docstring: those that are indented."""
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def as_a_shell_reads(lines: list[str]) -> str:
    """Every word of every command, each between quotes; the commands are only printed."""
    programs = "".join(
        f"{name}() {{ printf '<%s>' {name} \"$@\"; echo; }}\n" for name in ("repro", "torchrun")
    )
    script = programs + "\n".join(lines)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_can_be_copied_off_the_screen(name: str, width: int) -> None:
    written = examples_of(COMMANDS[name].help)
    assert written
    on_screen = [line for line in prose(shown(name)) if line.startswith("  ")]
    assert as_a_shell_reads(on_screen) == as_a_shell_reads(written)


@pytest.mark.parametrize("name", COMMANDS)
def test_lines_of_prose_are_full(name: str, width: int) -> None:
    """A line ends where the next word would not have fitted, or where a paragraph ends."""
    lines = prose(shown(name))
    for line, after in itertools.pairwise(lines):
        if line and after and not line.startswith(" ") and not after.startswith(" "):
            assert cell_len(line) + 1 + cell_len(after.split()[0]) > width - 2, line


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_eaten_cut_or_named_by_its_type(name: str, width: int) -> None:
    lines = shown(name)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for jargon in ("<bool>", "<list", "[[", "…]", "]...]"):
        assert jargon not in text.replace("test_index=[…]", "")
    words = set(re.split(r"[\s│]+", text))
    for parameter in COMMANDS[name].params:
        missing = set((parameter.help or "").split()) - words
        assert not missing, (parameter.name, missing)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_speaks_of_no_folder_of_the_source(name: str) -> None:
    assert "configs/" not in "\n".join(shown(name))


def test_the_methods_are_named_where_one_is_to_be_given(width: int) -> None:
    text = " ".join(" ".join(shown("influence")).replace("│", " ").split())
    for method in ("cg", "exact", "grad_dot", "lissa", "lissa_auto"):
        assert method in text.split("How s_test is computed")[1]
