"""What a stage has found is said without words of its own: a new stage is its file and its command."""

import json
from dataclasses import dataclass

import pytest

from cli import console
from cli.console import show, speaking
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


@pytest.mark.parametrize("width", [30, 60])
def test_where_a_table_does_not_fit_nothing_that_is_cut_off_passes_for_the_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(console, "out", console.PlainConsole(width=width))
    names = [f"number {k}" for k in range(8)]
    show("x", {name: (name, ".6f") for name in names}, [dict.fromkeys(names, 0.123456)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "─" not in line]
    heading, numbers = (line for line in lines if line)
    assert numbers
    assert all(number == "0.123456" or number.endswith("…") for number in numbers)
    assert any(word.endswith("…") for word in heading)


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(TypeError):
        say_result(object())
