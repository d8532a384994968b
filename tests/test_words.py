"""What a stage has found is said without words of its own: a new stage is its file and its command."""

import json
from dataclasses import dataclass

import pytest

from cli.console import speaking
from cli.words.registry import say_result


@dataclass(frozen=True)
class CurvatureMeasured:
    """A record that nobody has written words for."""

    largest_eigenvalue: float
    rank: int


def test_a_record_is_said_field_by_field(capsys: pytest.CaptureFixture[str]) -> None:
    say_result(CurvatureMeasured(2.5, 7))
    assert capsys.readouterr().out.splitlines() == ["largest eigenvalue  2.5", "rank                7"]


def test_a_program_is_told_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with speaking(quiet=False, log_json=True):
        say_result(CurvatureMeasured(2.5, 7))
    said = json.loads(capsys.readouterr().out)
    assert said["event"] == "curvature_measured"
    assert (said["largest_eigenvalue"], said["rank"]) == (2.5, 7)


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(TypeError):
        say_result(object())
