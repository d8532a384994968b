"""Imports run down the floors of docs/architecture.md, and never in a circle."""

import ast
from functools import cache
from pathlib import Path

import pytest

from release import file_page
from tests.command_line import PROJECT

BELOW = {
    "cli": {"repro", "score", "report", "diagnosis", "influence", "retrain", "plots", "parallel", "erm"},
    "repro": {"score", "report", "diagnosis", "influence", "retrain", "plots", "parallel", "erm"},
    "report": {"diagnosis", "plots"},
    "diagnosis": {"influence", "erm", "plots"},
    "influence": {"erm"},
    "retrain": {"erm", "parallel"},
    "score": set(),
    "plots": set(),
    "parallel": set(),
    "erm": set(),
}
"""What each floor may import of the others. `influence` and `retrain` do not know each other."""


@cache
def imports() -> dict[str, set[str]]:
    """By module, the modules of the project that it imports."""
    known = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
        for floor in BELOW
        for path in (PROJECT / floor).rglob("*.py")
    }
    return {name: _imported(path, set(known)) - {name} for name, path in known.items()}


def _imported(path: Path, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from package import module` names the module, `from module import name` the module as well.
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & known


@pytest.mark.parametrize("floor", BELOW)
def test_arrows_run_down(floor: str) -> None:
    allowed = {floor, *BELOW[floor]}
    up = {
        f"{name} -> {other}"
        for name, found in imports().items()
        if name.split(".")[0] == floor
        for other in found
        if other.split(".")[0] not in allowed
    }
    assert not up


def test_there_are_no_circles() -> None:
    graph = {name: {other for other in found if "." in other} for name, found in imports().items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_the_page_of_files_is_current() -> None:
    written = (PROJECT / "docs" / "files.md").read_text(encoding="utf-8")
    assert file_page.page() == written, "run: python -m release.file_page > docs/files.md"


def test_the_floors_are_those_of_the_architecture() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"\n{floor}/ " in text for floor in BELOW)
