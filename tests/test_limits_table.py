"""The limits that the documentation and the page state are those of the code, and there are no others."""

import ast

import pytest

from diagnosis import limits
from diagnosis.limits import CRITERIA, TABLE
from tests.command_line import PROJECT

LIMITS = {name: value for name, value in vars(limits).items() if isinstance(value, int | float)}


def test_the_method_page_has_the_table_of_the_code() -> None:
    assert TABLE in (PROJECT / "docs" / "method.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_every_limit_is_in_the_table(name: str) -> None:
    value = LIMITS[name]
    assert any(text in TABLE for text in (f" {value} ", f"{value:.0%}")), name


@pytest.mark.parametrize("name", ["PEARSON", "SPEARMAN", "SLOPE"])
def test_the_page_states_them(name: str) -> None:
    assert f" {LIMITS[name]}" in CRITERIA


@pytest.mark.parametrize("room", ["diagnosis", "report", "cli/diagnosing", "cli/page"])
def test_no_other_file_compares_with_a_number_of_its_own(room: str) -> None:
    """A limit elsewhere would be a second table: comparisons are with names, 0, 1 or 2."""
    for path in sorted((PROJECT / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Compare):
                continue
            numbers = [
                part.value
                for part in ast.walk(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, float)
            ]
            assert set(numbers) <= WORDING.get(path.name, set()) | {0.0}, (path, node.lineno, numbers)


WORDING = {
    # "lie on a line" rather than "near" one: words within what is good.
    "measures.py": {0.999},
    # A factor near 1 is in every slope that is right.
    "panels.py": {1.5},
}
