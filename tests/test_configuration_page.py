"""docs/configuration.md is what the schema and the YAML files say now."""

import functools
import json
import math
import re
from typing import Any

import pytest

from release import configuration_page as page
from repro.configuration.compose import compose, groups
from repro.configuration.validation import checked
from repro.errors import UsageError
from repro.folder.naming import DETERMINES_THETA, NOT_DETERMINING
from tests.command_line import PROJECT
from tests.test_configuration_keys import all_keys

COMMITTED = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_page_is_current() -> None:
    assert page.page() == COMMITTED, f"docs/configuration.md is not current; run: {page.COMMAND}"


def test_every_choice_and_every_key_is_on_the_page() -> None:
    for group, names in groups().items():
        assert f"\n## {group}\n" in COMMITTED
        for name in names:
            assert f"| `{group}={name}`" in COMMITTED
    for key in all_keys():
        assert f"| `{key}` |" in COMMITTED


def test_what_is_said_to_determine_theta_does() -> None:
    (sentence,) = re.findall(r"\*\*What determines θ̂\*\* is (.*?)\.", " ".join(COMMITTED.split()))
    assert re.findall(r"`(.*?)`", sentence) == list(DETERMINES_THETA)
    assert {("data", "root")} == NOT_DETERMINING
    assert "all their keys but `data.root`" in COMMITTED


RANGES = [
    row
    for row in re.findall(r"^\| `([\w.]+)` \| ([^|]*number[^|]*) \| (.*) \| .* \|$", COMMITTED, re.MULTILINE)
    if "list" not in row[1]
]


@functools.cache
def tree_under(override: str) -> dict[str, Any]:
    return compose([override] if override else []).values


@pytest.mark.parametrize("row", RANGES, ids=lambda row: row[0])
def test_ranges_on_the_page_are_those_that_hold(row: tuple[str, str, str]) -> None:
    """The default is taken; what lies at or beyond a bound, and what is not finite, is refused."""
    key, words, default = row
    group, _, name = key.rpartition(".")
    choice = re.search(r"\((?:data=)?(\w+)", default)
    tree = tree_under(f"{group}={choice[1]}" if choice and "data=" not in default else "")

    def take(value: object) -> None:
        checked(tree | ({group: tree[group] | {name: value}} if group else {name: value}))

    take(json.loads(default.split("`")[1]) if default != "`misclassified`" else "misclassified")
    refused: list[object] = [math.nan, math.inf, -math.inf, "one", True]
    for sign, bound in re.findall(r"([≥><≤]) (2⁶³|[\d.]+)", words):
        edge = 2**63 if bound == "2⁶³" else float(bound)
        over = edge - 1 if sign == "≥" else edge + 1 if sign == "≤" else edge
        refused += [int(over)] if "whole" in words else [float(over)]
    for value in refused:
        with pytest.raises(UsageError, match=re.escape(key)):
            take(value)
