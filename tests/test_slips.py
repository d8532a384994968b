"""Slips of the first hour at a terminal: each is answered in one line that says what to do."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import repro

SMALL = ("data=digits", "data.num_train=60", "top_k=5", "plot.formats=[png]")


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files of the kinds that are mistaken for others."""
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).normal(size=(12, 3)), np.zeros(12, int)
    np.savez("one_class.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    names = np.array(["cat", "dog"] * 6)
    np.savez("words.npz", x_train=x, y_train=names, x_test=x, y_test=names)
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("train influence", "one command at a time: repro train …, then repro influence …"),
        ("train retrain data=digits", "one command at a time: repro train …, then repro retrain …"),
        ("help", "there is no command help; `repro --help`"),
        ("help train", "there is no command help; `repro --help`"),
        ("version", "it is `repro --version`"),
        ("-v", "there is no option -v; it is `repro --version`"),
        ("report nosuchrun", "and there is no folder nosuchrun here"),
        ("train --l2 0.1", "--l2: a key is written without dashes: model.l2=0.1"),
        ("run --num-train=100", "--num-train=100: a key is written without dashes: data.num_train=100"),
        ("run --top-k 5", "--top-k: a key is written without dashes: top_k=5"),
        ("run --out mine", "--out: a key is written without dashes: output_dir=mine"),
        ("run --output-dir mine", "--output-dir: a key is written without dashes: output_dir=mine"),
        ("plot --test-index 3", "--test-index: a key is written without dashes: test_index=3"),
        ("influence --method data=digits", "--method: the name of the method is missing before data=digits"),
        ("run test_index=(3,8)", "a list is written in brackets: 'test_index=[3,8]'"),
        ("plot plot.formats=png", "a list is written in brackets: 'plot.formats=[png]'"),
        ("compare compare.settings=cg", "a list is written in brackets: 'compare.settings=[cg]'"),
        ("plot plot.formats=[]", "plot.formats=[]: expected at least 1 item"),
        ("plot test_index=[]", "expected a valid integer or at least 1 item or 'misclassified'"),
        ("train output_dir=", "output_dir=: expected at least 1 character"),
        ("train model.l2:0.1", "a key is given its value by =: model.l2=0.1"),
        ("train model:l2=0.1", "its parts are joined by a point: model.l2=0.1"),
        ("train model.l2==0.1", "a key is given its value by one =: model.l2=0.1"),
        ("train data=MNIST", "Did you mean mnist?"),
        ("train +top_k=3", "+top_k=3: top_k is there already; leave out the +"),
        ("train +fit.tolerance=1e-9", "fit.tolerance is there already; leave out the +"),
        ("train +plot.style=paper", "plot.style is there already; leave out the +"),
        ("train data=digits +foo=1", "foo=1: there is no such key"),
        ("train data=npz data.path=one_class.npz", "every label is 0; a classifier needs at least two"),
        ("train data=npz data.path=words.npz", "numpy.unique(y_train, return_inverse=True)"),
        ("sweep data=digits model.l2=[0.1,0.2]", "several values without brackets: model.l2=0.1,0.2"),
        ("sweep data=digits model.l2=0.1,0.2 --out file", "--out file: file is a file, not a folder"),
    ],
)  # fmt: skip
def test_a_slip_is_answered_in_one_line(line: str, remedy: str) -> None:
    result = repro(*line.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert remedy in result.stderr


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("train", "data = digits"), "there is no space around =: data=digits"),
        (("plot", "test_index='[3,8]'"), "the quotes go around the whole word: 'test_index=[3,8]'"),
        (
            ("compare", "compare.settings=[cg tolerance=1e-3]"),
            """an item with a space has quotes of its own: 'compare.settings=["cg tolerance=1e-3"]'""",
        ),
    ],
)
def test_a_slip_in_quotes_is_answered_in_one_line(words: tuple[str, ...], remedy: str) -> None:
    result = repro(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert remedy in result.stderr


def test_what_is_named_in_place_of_other_programs_words_is_there() -> None:
    assert repro("--version").exit_code == repro("--help").exit_code == 0


def test_a_sweep_is_not_mixed_into_a_run(somewhere: Path) -> None:
    assert repro("train", *SMALL, "output_dir=run").exit_code == 0
    result = repro("sweep", *SMALL, "model.l2=0.1,0.2", "--out", "run")
    assert result.exit_code == 2
    assert "--out run: run is a run folder; name another, such as run/sweep" in result.stderr
    assert not (somewhere / "run" / "sweep.json").exists()


NOWHERE = "/proc/nowhere"
"""Where nobody may make a folder, not even root."""


@pytest.mark.parametrize(
    "line",
    [
        f"train {' '.join(SMALL)} output_dir={NOWHERE}/run",
        f"sweep {' '.join(SMALL)} model.l2=0.1,0.2 --out {NOWHERE}/sweep",
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(line: str) -> None:
    result = repro(*line.split())
    assert result.exit_code == 1, result.output
    assert result.stderr.splitlines()[-1].startswith(f"error: {NOWHERE}")
    assert "cannot be written" in result.stderr
    assert "name a folder that can be" in result.stderr


def test_a_result_that_cannot_be_written_is_named_and_not_a_temporary_file() -> None:
    assert repro("train", *SMALL, "output_dir=run").exit_code == 0
    result = repro("export-model", "run", "--out", "/proc/model.pt")
    assert result.exit_code == 1
    assert ".unfinished" not in result.stderr
    assert "/proc/model.pt: cannot be written" in result.stderr


def test_a_folder_without_write_permission_is_refused_before_any_work(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (somewhere / "closed").mkdir()
    allowed = os.access
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and allowed(path, mode))
    for line in (
        ["train", *SMALL, "output_dir=closed/run"],
        ["sweep", *SMALL, "model.l2=0.1,0.2", "--out", "closed/s"],
    ):
        result = repro(*line)
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1
        assert "closed cannot be written by this user" in result.stderr
