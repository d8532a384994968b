"""What is said of long work and results: to people, to nobody, and to programs; the same numbers to each."""

import json
import math
import os
import warnings
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cli import console, progress
from cli.progress import progress_bar
from repro.listener import ProgressReport
from tests.command_line import FAST, repro, spawn, succeed

PATIENCE = 120
RUN = ("run", "--method", "cg", *FAST)
FIELDS = {
    "event", "time", "task", "stage", "done", "total", "unit", "passes", "num_models", "gradient_norm",
    "contraction", "per_second", "seconds_left", "seconds",
}  # fmt: skip
"""Of a progress event. Programs read them: a change here is a change of the interface."""


def events(text: str) -> list[dict[str, Any]]:
    """Every line, which must be JSON as all readers know it."""
    found = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    for event in found:
        moment = datetime.fromisoformat(event["time"])
        assert moment.utcoffset() == UTC.utcoffset(None)
    return found


def named(found: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [entry for entry in found if entry["event"] == event]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run for a program: its folder, stdout and stderr."""
    folder = tmp_path_factory.mktemp("told") / "run"
    result = repro(*RUN, "--log-json", f"output_dir={folder}")
    assert result.exit_code == 0, result.output
    return folder, result.stdout, result.stderr


def test_results_for_a_program_are_the_numbers_of_the_files(told: tuple[Path, str, str]) -> None:
    folder, out, _ = told
    found = events(out)
    assert [event["event"] for event in found] == [
        "trained", "predicted", "retrained", "table", "certified", "wrote",
    ]  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    (table,) = named(found, "table")
    assert {row.pop("method"): row for row in table["rows"]} == summary["methods"]
    (certified,) = named(found, "certified")
    assert {key: certified[key] for key in summary if key != "methods"} == {
        key: value for key, value in summary.items() if key != "methods"
    }
    assert all(Path(name).exists() for name in named(found, "wrote")[0]["files"])


def test_progress_for_a_program_has_its_fields_and_ends_complete(told: tuple[Path, str, str]) -> None:
    found = events(told[2])
    assert {event["event"] for event in found} == {"progress"}
    assert all(set(event) == FIELDS for event in found)
    tasks = list(dict.fromkeys(event["task"] for event in found))
    assert tasks == ["training", "influence (cg)", "retraining"]
    training, _, retraining = ([event for event in found if event["task"] == task][-1] for task in tasks)
    assert training["gradient_norm"] <= 1e-10
    assert retraining["done"] == retraining["total"] == 41
    assert retraining["gradient_norm"] <= 1e-9
    assert 0 < retraining["contraction"] < 1
    assert retraining["per_second"] > 0
    assert retraining["seconds_left"] == 0
    stages = [event["stage"] for event in found if event["task"] == "retraining"]
    assert list(dict.fromkeys(stages)) == ["Hessian", "solving"]


def test_the_record_of_retraining_says_what_was_solved(told: tuple[Path, str, str]) -> None:
    folder, out, _ = told
    (run,) = json.loads((folder / "retrain" / "record.json").read_text())["runs"]
    (retrained,) = named(events(out), "retrained")
    assert run["models"] == retrained["solved"] == 41
    assert run["passes_per_model"] == pytest.approx(retrained["passes_per_model"])
    assert run["processes"] == 1
    assert run["trace"][-1][1] <= 1e-9
    # Every model of the one process takes part in every pass until it has converged.
    assert sum(models for *_, models in run["trace"]) == pytest.approx(41 * run["passes_per_model"])


@pytest.mark.parametrize(
    "damage",
    [None, *(pytest.param(text, marks=pytest.mark.slow) for text in ("{", '{"runs": 3}')), '{"runs": [3]}'],
)
def test_a_record_that_is_missing_or_damaged_begins_anew(tmp_path: Path, damage: str | None) -> None:
    from repro.folder.manifest import write_text_result
    from repro.folder.paths import RunFolder

    folder, overrides = RunFolder(tmp_path / "run"), (*FAST, f"output_dir={tmp_path}/run")
    succeed("train", *overrides)
    succeed("retrain", *overrides, "removals=indices", "removals.indices=[1,2]")
    if damage is None:
        folder.retrain_record.unlink()
    else:
        write_text_result(folder, folder.retrain_record, damage)
    succeed("retrain", *overrides, "removals=indices", "removals.indices=[1,2]")
    assert json.loads(folder.retrain_record.read_text()) == {"runs": []}
    for points in ("[1,2,3]", "[1,2,3]", "[4,5]"):
        succeed("retrain", *overrides, "removals=indices", f"removals.indices={points}")
    assert [run["models"] for run in json.loads(folder.retrain_record.read_text())["runs"]] == [1, 2]


def test_quiet_says_nothing_of_a_good_run_and_does_the_same(tmp_path: Path) -> None:
    result = repro(*RUN, "--quiet", f"output_dir={tmp_path}/run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "run" / "summary.json").exists()
    assert repro("check", "--quiet", tmp_path / "run").output == ""
    (tmp_path / "run" / "leave_one_out.csv").write_text("damaged")
    failed = repro("check", "--quiet", tmp_path / "run")
    assert failed.exit_code == 1
    assert failed.stdout.splitlines()[0].startswith("BAD   files")
    assert "good" not in failed.stdout
    assert "checks failed" in failed.stderr


def test_colours_that_are_forced_do_not_make_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks and logs of CI ask for colours; a bar that moves the cursor would be written out there."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    process = spawn("train", *FAST, f"output_dir={tmp_path}/run")
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "\x1b[2K" not in err


@pytest.mark.parametrize("options", [("--quiet",), ("--quiet", "--log-json"), ("--log-json",)])
def test_what_is_wrong_is_said_however_quiet(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = repro("train", *options, *FAST, "fit.max_passes=3", f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    assert "not converged" in result.stderr
    if "--log-json" in options:
        (error,) = named(events(result.stderr), "error")
        assert error["exit_code"] == 1
    if "--quiet" in options:
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("line", [("--nosuch",), ("model.l2=-1",), ("--gpus", "x")])
def test_usage_errors_are_objects_too(line: tuple[str, ...]) -> None:
    result = repro("retrain", "--log-json", *line)
    assert result.exit_code == repro("retrain", *line).exit_code == 2
    assert result.stdout == ""
    (error,) = events(result.stderr)
    assert (error["event"], error["exit_code"]) == ("error", 2)
    assert line[0].lstrip("-").split("=")[0] in error["message"]


def test_the_configuration_is_its_own_result() -> None:
    (found,) = events(succeed("config", "--log-json", "model.l2=0.5"))
    assert found["values"]["model"]["l2"] == 0.5
    (found,) = events(succeed("config", "--log-json", "--groups"))
    methods = ["cg", "exact", "grad_dot", "lissa", "lissa_auto", "newton_step", "rif"]
    assert found["groups"]["influence"] == methods


def test_options_hold_for_their_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(console.OUTPUT, raising=False)
    assert repro("config", "--log-json").exit_code == 0
    assert console.OUTPUT not in os.environ
    monkeypatch.setenv(console.OUTPUT, "json")
    assert named(events(succeed("config")), "configuration")
    assert os.environ[console.OUTPUT] == "json"


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--log-json", "--quiet"])
def test_processes_of_a_run_speak_as_it_does(tmp_path: Path, option: str) -> None:
    process = spawn(*RUN, "--gpus", "2", option, f"output_dir={tmp_path}/run")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    if option == "--quiet":
        assert out == ""
        assert set(err.splitlines()) == {
            "warning: no GPU here: running 2 processes on the CPU instead (gloo)"
        }
        return
    assert [event["solved"] for event in named(events(out), "retrained")] == [41]
    assert {event["event"] for event in events(err)} == {"progress", "warning"}
    retraining = [event for event in events(err) if event.get("task") == "retraining"]
    assert all(set(event) == FIELDS for event in retraining)
    # The share of the first process, which alone speaks.
    assert retraining[-1]["done"] == retraining[-1]["total"] in (20, 21)
    (run,) = json.loads((tmp_path / "run" / "retrain" / "record.json").read_text())["runs"]
    assert (run["models"], run["processes"]) == (41, 2)


@pytest.mark.slow
def test_runs_of_a_sweep_speak_as_it_does(tmp_path: Path) -> None:
    line = ("sweep", "--method", "cg", *FAST, "test_index=3", "model.l2=0.01,0.1")
    process = spawn(*line, "--log-json", "--out", tmp_path / "out")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    events(err)
    assert len(named(events(out), "trained")) == 2
    process = spawn(*line, "--quiet", "--out", tmp_path / "quiet")
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which progress is paced; whoever sets its one entry moves it."""
    now = [1000.0]
    monkeypatch.setattr("cli.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def solving(done: int, number: int, **more: Any) -> ProgressReport:
    return ProgressReport(
        stage="solving", done=done, total=60, unit="models", passes=number, num_models=30,
        gradient_norm=4e-6, contraction=0.013, **more,
    )  # fmt: skip


def test_where_stderr_is_no_terminal_a_line_says_all_of_it(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar("retraining") as bar:
        assert capsys.readouterr().err == "retraining: started\n"
        bar.update(ProgressReport(stage="Hessian"))
        clock[0] += 59
        bar.update(solving(0, 1))
        clock[0] += 30
        bar.update(solving(15, 2))
        # Reports are not lines: those come every few seconds, whatever is reported.
        assert capsys.readouterr().err == ""
        bar.print_line()
        # The pace is that of the models, without the set-up before them.
        assert capsys.readouterr().err == (
            "retraining: 89 s, solving, pass 2 over 30 models, largest gradient norm 4e-06, "
            "contraction 0.013, 15 of 60 models, 0.5 models per second, about 2 min left\n"
        )
    assert capsys.readouterr().out == ""


def test_a_program_is_told_stages_and_passes_at_once_and_else_one_line_a_second(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.speaking(quiet=False, log_json=True), progress_bar("work") as bar:
        for step in range(64):
            clock[0] += 1 / 16
            bar.update(ProgressReport(stage="counting", done=step, total=80))
        counted = events(capsys.readouterr().err)
        assert [event["done"] for event in counted] == [0, 16, 32, 48]
        assert counted[2]["per_second"] == 16
        assert counted[2]["seconds_left"] == 3
        for number in range(1, 4):
            clock[0] += 0.2
            bar.update(solving(10 * number, number))
        bar.update(solving(60, 4))
    assert [event["passes"] for event in events(capsys.readouterr().err)] == [1, 2, 3, 4]


def test_a_terminal_shows_a_bar_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=160)
    monkeypatch.setattr(progress, "err", terminal)
    with progress_bar("retraining") as bar:
        bar.update(solving(15, 2))
        bar.progress.refresh()
        shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "15/60" in shown
    assert "pass 2 over 30 models, largest gradient norm 4e-06, contraction 0.013" in shown


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    with console.speaking(quiet=False, log_json=True):
        numbers: dict[str, Any] = {
            "a": math.inf,
            "b": np.float32("nan"),
            "c": [np.int64(3), math.nan],
            "d": Path("x"),
        }
        console.say("line", **numbers)
        warnings.simplefilter("always")
        warnings.warn("odd", RuntimeWarning, stacklevel=1)
    said = capsys.readouterr()
    (line,), (warning,) = events(said.out), events(said.err)
    assert [line[name] for name in "abcd"] == [None, None, [3, None], "x"]
    assert (warning["event"], warning["message"]) == ("warning", "odd")
