"""CITATION.cff: a valid Citation File Format 1.2.0 file that says what the package says of itself."""

import tomllib
from importlib.metadata import version
from typing import Any

import pytest
import yaml

from tests.command_line import PROJECT

TEXT = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
CITATION: dict[str, Any] = yaml.safe_load(TEXT)
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# From the schema of CFF 1.2.0: https://github.com/citation-file-format/citation-file-format/blob/1.2.0/schema.json
REQUIRED = {"authors", "cff-version", "message", "title"}
TOP_LEVEL = REQUIRED | {
    "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license",
    "license-url", "preferred-citation", "references", "repository", "repository-artifact",
    "repository-code", "type", "url", "version",
}  # fmt: skip
REFERENCE = {
    "authors", "title", "type", "year", "conference", "collection-title", "collection-type", "volume-title",
    "volume", "start", "end", "url", "identifiers", "doi",
}  # fmt: skip
PERSON = {"family-names", "given-names", "name-particle", "name-suffix", "orcid", "affiliation", "email"}
ENTITY = {"name", "address", "city", "country", "email", "orcid", "website", "alias"}


def test_it_has_the_keys_of_the_format_and_no_others() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert REQUIRED <= set(CITATION) <= TOP_LEVEL
    assert isinstance(CITATION["version"], str)
    reference = CITATION["preferred-citation"]
    assert {"authors", "title", "type"} <= set(reference) <= REFERENCE
    for author in [*CITATION["authors"], *reference["authors"]]:
        assert set(author) <= (ENTITY if "name" in author else PERSON)


def test_it_says_what_the_package_says() -> None:
    assert CITATION["version"] == PYPROJECT["version"] == version("leave-one-out-reproducer")
    assert CITATION["license"] == PYPROJECT["license"]
    assert CITATION["keywords"] == PYPROJECT["keywords"]
    assert " ".join(CITATION["abstract"].split()) == PYPROJECT["description"]


def test_the_paper_is_the_one_in_the_readme() -> None:
    reference = CITATION["preferred-citation"]
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    if "@inproceedings{koh2017understanding" not in readme:
        pytest.fail("README.md has no BibTeX entry of the paper")
    assert f"title     = {{{reference['title']}}}" in readme
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in reference["authors"]) in readme
    assert f"year      = {{{reference['year']}}}" in readme
