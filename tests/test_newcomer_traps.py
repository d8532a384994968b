"""What a newcomer may run into: each is answered in a line with the remedy, and no good result is lost."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli import progress
from repro.folder.paths import RunFolder
from repro.listener import ProgressReport
from repro.records.influence import age_in_words, read_record
from tests.command_line import repro, succeed

SMALL = ("data=digits", "data.num_train=60", "top_k=5", "plot.formats=[png]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run by LiSSA that nobody touches."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    succeed("run", "--method", "lissa", *SMALL, "influence.depth=50", f"output_dir={folder}")
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def errors(*arguments: str | Path, code: int = 2) -> str:
    """What the command says on stderr as it refuses, on one line."""
    result = repro(*arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.stderr.split())


def write_npz(path: Path, first_label: int = 0, num_classes: int = 3) -> Path:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.resize(np.arange(first_label, first_label + num_classes), 40))
    x = rng.normal(size=(40, 4)) + 0.3 * labels[:, None]
    np.savez(path, x_train=x[:30], y_train=labels[:30], x_test=x[30:], y_test=labels[30:])
    return path


@pytest.mark.parametrize(
    "bad", [("influence.scale=0.01",), ("influence.scale=0.3", "influence.allow_divergence=true")]
)
def test_a_failed_influence_keeps_the_table_and_the_report_says_it_is_old(
    copied: Path, bad: tuple[str, ...]
) -> None:
    table = copied / "influence" / "lissa.csv"
    before = table.read_bytes()
    refused = repro("influence", "--method", "lissa", *SMALL, *bad, f"output_dir={copied}")
    assert refused.exit_code in (1, 2)
    assert "earlier predictions, made with influence.scale=25.0 influence.depth=50" in refused.stderr
    assert table.read_bytes() == before
    reported = repro("report", *SMALL, f"output_dir={copied}")
    assert reported.exit_code == 0, reported.output
    said = " ".join(reported.stderr.split())
    assert re.search(r"lissa: these predictions are old, made \d{4}-\d\d-\d\d \d\d:\d\d UTC", said)
    assert bad[0] in said
    assert "these predictions are old, made" in (copied / "report.html").read_text()
    succeed("check", copied)
    # What is made anew is not old.
    succeed("influence", "--method", "lissa", *SMALL, "influence.depth=60", f"output_dir={copied}")
    assert (
        "old" not in repro("plot", *SMALL, f"output_dir={copied}", "--quiet").stderr.split("report.html")[0]
    )


def age(run: Path, method: str) -> str:
    record = read_record(RunFolder(run), method)
    assert record is not None
    return age_in_words(record)


def test_predictions_of_another_version_are_named(copied: Path) -> None:
    path = copied / "influence" / "lissa.json"
    record = json.loads(path.read_text())
    del record["written"]
    path.write_text(json.dumps(record))
    assert "of an earlier version of this tool" in age(copied, "lissa")
    path.write_text(json.dumps(record | {"written": {"time": "2024-01-02T03:04:05+00:00", "version": "0.0"}}))
    assert "are of version 0.0 of this tool, made 2024-01-02 03:04 UTC" in age(copied, "lissa")


def test_plot_says_when_the_page_is_of_another_table(copied: Path) -> None:
    succeed("report", *SMALL, f"output_dir={copied}")
    assert "old" not in repro("plot", *SMALL, f"output_dir={copied}").stderr
    said = repro("plot", *SMALL, "top_k=3", f"output_dir={copied}").stderr
    assert "report.html is old: it shows another table" in " ".join(said.split())


def test_labels_from_1_are_named(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "mine.npz", first_label=1)
    run = ("train", "data=npz", f"data.path={data}", "top_k=5", f"output_dir={tmp_path}/run")
    said = " ".join(repro(*run).stderr.split())
    assert "mine: no training example has the label 0; the labels are 1 … 3" in said
    assert "subtract 1" in said
    data = write_npz(tmp_path / "right.npz")
    assert "label" not in repro(*run[:2], f"data.path={data}", run[3], f"output_dir={tmp_path}/other").stderr


def test_few_data_need_no_top_k(tmp_path: Path) -> None:
    """There are fewer training points than the 500 that nobody asked for."""
    data = write_npz(tmp_path / "mine.npz")
    run = ("data=npz", f"data.path={data}", "plot.formats=[png]", f"output_dir={tmp_path}/run")
    ran = repro("run", "--method", "exact", *run)
    assert ran.exit_code == 0, ran.output
    assert "top_k=" not in ran.output
    table = pd.read_csv(tmp_path / "run" / "leave_one_out.csv")
    n = len(np.load(data)["y_train"])
    assert sorted(table["train_index"]) == list(range(n))
    succeed("report", *run)
    succeed("check", tmp_path / "run")
    # Whoever types more than there are is told so, by the stages that select points, before any work.
    for command in (["influence", "--method", "exact"], ["retrain"], ["plot"], ["run", "--method", "exact"]):
        result = repro(*command, *run, f"top_k={n + 1}")
        assert result.exit_code == 2, command
        assert f"top_k={n + 1}: there are {n} training points; expected 1 … {n}" in result.stderr
    succeed("train", *run, f"top_k={n + 1}")


def test_data_of_one_s_own_need_a_path() -> None:
    said = errors("train", "data=npz")
    assert said == "error: data.path has no value, and data=npz needs one: add data.path=VALUE"


def test_check_of_a_run_that_is_only_trained_says_what_it_did_not_check(tmp_path: Path) -> None:
    succeed("train", *SMALL, f"output_dir={tmp_path}/run")
    said = " ".join(succeed("check", tmp_path / "run").split())
    assert "Errno" not in said
    assert "table: no leave_one_out.csv yet; `repro run`" in said
    assert "Everything" not in said
    assert "Not checked: table" in said


def test_long_work_speaks_at_once_and_every_few_seconds_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    with progress.progress_bar("training") as bar:
        assert capsys.readouterr().err == "training: started\n"
        bar.update(ProgressReport(stage="fit", done=1, total=4, passes=3))
        deadline, lines = time.monotonic() + 60, ""
        # Nothing is reported any more, as in a long matrix product.
        while lines.count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            lines += capsys.readouterr().err
    assert re.fullmatch(r"(training: \d+ s, fit, pass 3, 1 of 4 steps.*\n)+", lines)
    count = len(lines)
    time.sleep(0.1)
    assert len(lines) == count
    assert capsys.readouterr().err.count("\n") <= 1
    for option in ("--quiet", "--log-json"):
        said = repro("train", *SMALL, f"output_dir=/nonexistent{option}", option).stderr
        assert "training: started" not in said


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("model=logistic_autograd", "Use model=logistic"),
        ("model.l2=0", "Set model.l2 > 0"),
    ],
)
def test_run_refuses_before_any_work_what_it_cannot_retrain(tmp_path: Path, bad: str, said: str) -> None:
    result = repro("run", "--method", "cg", *SMALL, bad, f"output_dir={tmp_path}/run")
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("check {parent}", "In it are the runs {run}; name one"),
        ("check {run}/summary.json", "is a file; name the run folder, such as {run}"),
        ("run lissa cg", "a method is chosen with --method lissa"),
        ("influence --method cg,lissa", "--method cg --method lissa"),
        ("train --data digits", "a key is written without dashes: data=digits"),
        ("train --model.l2=0.1", "a key is written without dashes: model.l2=0.1"),
        ("--quiet train", "--quiet comes after the command, such as: repro train --quiet"),
        ("train data = digits", "there is no space around =, such as data=VALUE"),
        ("train data=mine.npz", "a file of your own is read with data=npz data.path=mine.npz"),
        ("train digits", "'digits' is not KEY=VALUE: it is written data=digits"),
        ("train digit", "'digit' is not KEY=VALUE: did you mean data=digits?"),
        ("run network", "it is written model=network"),
        ("run figure2", "it is written experiment=figure2"),
        ("retrain halfs", "did you mean removals=halves?"),
        ("train random", "it is written removals=random"),
        ("influence lisa", "did you mean --method lissa?"),
        ("plot test_index=3,8", "a list is written in brackets: 'test_index=[3,8]'"),
        ("plot test_index=[3 8]", "a list has no spaces, and quotes around it"),
        ("train model.l2=0,1", "a number has a decimal point: model.l2=0.1"),
        ("train data.root={run}/MNIST", "so give data.root={run}"),
        ("train data.root={run}/MNIST/raw", "so give data.root={run}"),
        ("train data=npz data.path={run}/t.csv", "it is no zip archive"),
        ("train data=npz data.path={run}/rows.npz", "if rows mark classes, y_train.argmax(axis=1)"),
        (
            "sweep model.l2=0.1,0.2 hydra/launcher=joblib",
            "no such launcher is installed; the package hydra-joblib-launcher brings it. There are: basic",
        ),
    ],
)
def test_what_is_easily_typed_wrong_is_answered_with_how_it_is_written(
    copied: Path, line: str, remedy: str
) -> None:
    raw = copied / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"")
    (copied / "t.csv").write_text("a,b\n1,2\n")
    x, rows = np.ones((3, 2)), np.eye(3)
    np.savez(copied / "rows.npz", x_train=x, y_train=rows, x_test=x, y_test=np.zeros(3))
    where = {"run": str(copied), "parent": str(copied.parent)}
    result = repro(*(word.format(**where) for word in line.split()))
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert remedy.format(**where) in result.stderr


def test_another_working_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"is missing in the working directory {tmp_path}. Run first: repro train" in errors(
        "plot", *SMALL, code=1
    )


def test_a_folder_called_like_a_choice_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert (
        "digits holds no run: there is no config.yaml; if the choice is meant, it is written data=digits"
        in (errors("train", "digits"))
    )
