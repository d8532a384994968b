"""`repro sweep`: Hydra runs the cross product; results are those of the runs by themselves."""

import json
import re
import subprocess
import sys
from argparse import Action, ArgumentParser
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra.core.singleton import Singleton

from cli.terminal import Terminal
from plots.style import save
from plots.sweep import draw_sweep
from repro.errors import StageError
from repro.program import program
from repro.sweep.job import SweepRun, _is_done
from repro.sweep.sweep import Swept, _help_unread
from repro.sweep.table import joined
from tests.command_line import FAST, repro, succeed
from tests.npz_files import npz_arrays

SWEEP = ("--method", "cg", *FAST, "model.l2=0.01,0.1", "test_index=3")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over λ and the number of points, whose path has a space."""
    folder = tmp_path_factory.mktemp("a sweep") / "out"
    said = succeed("sweep", *SWEEP, "top_k=20,30", "--out", folder)
    # Hydra, which does the running, has a configuration of logs that would silence all others.
    assert f"wrote {folder / 'sweep.csv'}" in said
    return folder


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is a command of this process; the slow tests start them as they are started."""

    elsewhere = subprocess.run

    def run(words: list[str], **settings: Any) -> Any:
        if words[0] != program():
            return elsewhere(words, **settings)
        hydra = Singleton.get_state()
        try:
            return subprocess.CompletedProcess(words, repro(*words[1:]).exit_code)
        finally:
            Singleton.set_state(hydra)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.figures
@pytest.mark.slow
def test_every_combination_is_a_row_with_the_result_of_its_own_run(swept: Path, tmp_path: Path) -> None:
    table = pd.read_csv(swept / "sweep.csv")
    assert sorted(zip(table["model.l2"], table["top_k"], strict=True)) == [
        (0.01, 20), (0.01, 30), (0.1, 20), (0.1, 30),
    ]  # fmt: skip
    alone = tmp_path / "run"
    succeed(
        "run",
        *SWEEP[:-2],
        "model.l2=0.1",
        "test_index=3",
        "top_k=30",
        f"output_dir={alone}",
    )
    expected = json.loads((alone / "summary.json").read_text())["methods"]["cg"]
    row = table[(table["model.l2"] == 0.1) & (table["top_k"] == 30)].iloc[0]
    for name in ("pearson", "slope", "points"):
        assert row[name] == pytest.approx(expected[name], rel=1e-6)
    assert (swept / "sweep.png").stat().st_size > 10_000


@pytest.mark.slow
def test_runs_of_one_theta_share_it_and_their_models(swept: Path) -> None:
    table = pd.read_csv(swept / "sweep.csv").sort_values(["model.l2", "top_k"])
    first, second = (swept / name for name in table["run"].head(2))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    shared = {path.name for path in (first / "retrain" / "weights").iterdir()} & {
        path.name for path in (second / "retrain" / "weights").iterdir()
    }
    assert shared
    for run in (first, second):
        succeed("check", run)


@pytest.mark.slow
def test_a_finished_sweep_is_not_run_again(swept: Path) -> None:
    models = {path: path.stat().st_mtime_ns for path in swept.rglob("*.safetensors")}
    before = (swept / "sweep.csv").read_bytes()
    succeed("sweep", *SWEEP, "top_k=20,30", "--out", swept)
    assert {path: path.stat().st_mtime_ns for path in swept.rglob("*.safetensors")} == models
    assert (swept / "sweep.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.l2=0.1"], "nothing to sweep over"),
        (["model.l2=0.1,-1"], "model.l2=-1"),
        (["nosuch=1,2"], "nosuch"),
        (["output_dir=a,b"], "--out"),
    ],
)
def test_a_wrong_sweep_is_refused_before_any_run(tmp_path: Path, overrides: list[str], said: str) -> None:
    result = repro("sweep", "data=digits", *overrides, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_wrong_sweep_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from cli.main import app; from typer.testing import CliRunner\n"
        "for words in (['output_dir=a'], ['nosuch=1'], ['hydra/launcher=nosuch'], ['fit.seed=3'], []):\n"
        "    line = ['sweep', 'data=digits', *words, 'model.l2=0.1,0.2'][:-1 if not words else None]\n"
        "    result = CliRunner().invoke(app, line)\n"
        "    assert result.exit_code == 2, result.output\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sweep_says_first_how_many_runs_it_makes_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.sweep.sweep._run_all", lambda folder, overrides: None)
    folder = tmp_path / "out"
    words = (
        "--method",
        "cg",
        "--method",
        "grad_dot",
        *FAST,
        "model.l2=0.01,0.1",
        "top_k=5,6,7",
        "test_index=3",
    )
    first, *_ = succeed("sweep", *words, "--out", folder).splitlines()
    runs = "6 runs (model.l2=0.01,0.1 × top_k=5,6,7), each by cg and grad_dot"
    assert first == f"{runs}; the result will be {folder}/sweep.csv"
    event = json.loads(succeed("sweep", *words, "--out", folder, "--log-json").splitlines()[0])
    assert event["event"] == "sweep"
    assert event["runs"] == 6
    assert event["values"] == {"model.l2": ["0.01", "0.1"], "top_k": ["5", "6", "7"]}
    assert event["folder"] == str(folder)


@pytest.mark.slow
def test_another_sweep_does_not_mix_into_the_folder(swept: Path) -> None:
    result = repro("sweep", *SWEEP, "top_k=20,40", "--out", swept)
    assert result.exit_code == 1
    assert "another sweep" in result.stderr


def test_two_sweeps_have_two_folders_and_one_sweep_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("repro.sweep.sweep._run_all", lambda folder, overrides: None)
    for value in ("7,8", "7,8", "7,9"):
        succeed("sweep", "--method", "cg", *FAST[:2], f"top_k={value}", "test_index=3")
    folders = sorted((tmp_path / "outputs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert re.fullmatch(r"sweep-[0-9a-f]{8}", folder.name)
        assert (folder / "sweep.json").exists()


@pytest.mark.slow
def test_runs_that_fail_are_named_and_the_others_drawn(tmp_path: Path) -> None:
    overrides = ["--method", "lissa", *FAST, "influence.depth=100", "influence.scale=0.2,25"]
    result = repro("sweep", *overrides, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 of 2 runs failed" in result.stderr
    assert "influence.scale=0.2" in result.stderr
    assert pd.read_csv(tmp_path / "out" / "sweep.csv")["influence.scale"].tolist() == [25]


def test_lines_are_methods_and_the_other_keys() -> None:
    table = pd.DataFrame(
        {
            "a": [1.0, 100.0, 1.0, 100.0],
            "b": ["x", "x", "y", "y"],
            "method": "cg",
            "test_index": "",
            "pearson": [0.1, 0.2, 0.3, 0.4],
            "slope": [1.0, 1.1, 1.2, 1.3],
        }
    )
    axes = draw_sweep(table, ["a", "b"]).axes[0]
    assert [line.get_label() for line in axes.lines] == ["cg b=x", "cg b=y"]
    assert axes.get_xscale() == "log"


L2 = ("--method", "cg", *FAST, "model.l2=0.001,0.1")
"""The first misclassified test points of these two are 0 and 11."""


def test_a_help_that_is_no_string_is_read_by_nobody_while_hydra_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.14 reads it as soon as an option is added, and Hydra's is an object."""

    def read(parser: ArgumentParser, action: Action) -> None:
        raise ValueError("badly formed help string")

    monkeypatch.setattr(ArgumentParser.__mro__[2], "_check_help", read, raising=False)
    parser: Any = ArgumentParser()
    with _help_unread():
        parser._check_help(None)
    with pytest.raises(ValueError, match="badly formed"):
        parser._check_help(None)


def test_all_runs_explain_the_point_that_the_first_misclassifies(
    tmp_path: Path, in_this_process: None
) -> None:
    folder = tmp_path / "out"
    said = succeed("sweep", *L2, "top_k=5", "--out", folder)
    table = pd.read_csv(folder / "sweep.csv")
    assert table["test_index"].tolist() == [0, 0]
    for run in table["run"]:
        assert set(pd.read_csv(folder / run / "leave_one_out.csv")["test_index"]) == {0}
    assert json.loads((folder / "sweep.json").read_text())["test_index"] == [0]
    assert "All runs explain test point 0, the first that model.l2=0.001 misclassifies" in said
    printed = [line.split() for line in said.splitlines()]
    assert ["run", "model.l2", "method", "pearson", "slope", "intercept", "max", "error", "points"] in printed
    for row in table.itertuples():
        assert any(
            line[:3] == [row.run, f"{row[2]:g}", "cg"] and f"{row.slope:.4f}" in line for line in printed
        )


def test_a_run_that_explained_another_point_is_not_done(tmp_path: Path) -> None:
    record = tmp_path / "0.json"
    record.write_text(json.dumps({"exit_code": 0, "folder": "run-0", "overrides": ["model.l2=0.1"]}))
    (tmp_path / "summary.json").write_text("{}")
    assert _is_done(record, tmp_path, ["model.l2=0.1"])
    assert not _is_done(record, tmp_path, ["model.l2=0.1", "test_index=29"])


def test_runs_of_other_test_points_are_not_joined(tmp_path: Path) -> None:
    statistics = ("pearson", "spearman", "slope", "intercept", "max_abs_error", "points", "seconds")
    known = {"max_certificate": 0.0, "null_control": 0.0, "null_control_certificate": 0.0}
    point = {"methods": {"cg": dict.fromkeys(statistics, 1)}} | known
    records = []
    for number, test_index in enumerate((29, 14)):
        run = tmp_path / f"run-{number}"
        run.mkdir()
        (run / "summary.json").write_text(json.dumps(point))
        pd.DataFrame({"test_index": [test_index]}).to_csv(run / "leave_one_out.csv")
        records.append(SweepRun(overrides=[f"model.l2={number}"], folder=run.name, exit_code=0))
    with pytest.raises(StageError, match=r"run-1 explains test points \[14\], the sweep \[29\]"):
        joined(tmp_path, records, ["model.l2"], [29])
    assert joined(tmp_path, records, ["model.l2"], None)["test_index"].tolist() == [29, 14]


def test_a_point_that_is_another_example_in_other_data_is_refused(
    tmp_path: Path, save: Callable[[dict[str, Any]], Path]
) -> None:
    one = save(npz_arrays()).rename(tmp_path / "one.npz")
    two = save(npz_arrays(y_test=np.array([3, 1, 1]))).rename(tmp_path / "two.npz")
    sweep = ("sweep", "data=npz", f"data.path='{one}','{two}'", "top_k=3")
    refused = repro(*sweep, "test_index=1", "--out", tmp_path / "out")
    assert refused.exit_code == 2
    assert "test point 1 is another example with" in " ".join(refused.stderr.split())
    assert not list((tmp_path / "out").glob("run-*"))


def test_misclassified_is_no_value_beside_others(tmp_path: Path) -> None:
    result = repro("sweep", *FAST, "test_index=3,misclassified", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "name points" in result.stderr


def test_a_long_table_is_cut_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    statistics = {"pearson": 1.0, "slope": 1.0, "intercept": 0.0, "max_abs_error": 0.0, "points": 5}
    rows = [
        {"run": f"run-{n}", "top_k": n, "test_index": n % 2, "method": "cg"} | statistics for n in range(50)
    ]
    Terminal().result(Swept(table=pd.DataFrame(rows), keys=["top_k"]))
    said = capsys.readouterr().out
    assert "the first 40 of 50 rows" in said
    assert "test index" in said
    assert said.count("run-") == 40


@pytest.mark.figures
def test_slope_one_is_drawn_where_slopes_stand_and_nowhere_else() -> None:
    rows = {"model.l2": [0.1, 0.2], "test_index": 3, "method": "cg", "pearson": 1.0, "slope": [1.2, 1.3]}
    figure = draw_sweep(pd.DataFrame(rows), ["model.l2"])
    save(figure, BytesIO())
    of_r, of_slope = figure.axes
    (ideal,) = (line for line in of_slope.lines if line.get_gid() == "ideal")
    assert np.array_equal(ideal.get_ydata(), [1.0, 1.0])
    assert not [line for line in of_r.lines if line.get_gid() == "ideal"]


def test_the_figure_says_which_point_and_joins_no_two() -> None:
    table = pd.DataFrame(
        {
            "model.l2": [0.1, 0.2] * 2,
            "test_index": [3, 3, 14, 14],
            "method": "cg",
            "pearson": 1.0,
            "slope": 1.0,
        }
    )
    figure = draw_sweep(table, ["model.l2"], "All runs explain test points 3, 14")
    assert figure.get_suptitle() == "All runs explain test points 3, 14"
    names = [line.get_label() for line in figure.axes[0].lines]
    assert names == ["cg test_index=3", "cg test_index=14"]
    also = draw_sweep(table, ["model.l2", "test_index"]).axes[0]
    assert [line.get_label() for line in also.lines] == names
    across = draw_sweep(table, ["test_index", "model.l2"]).axes[0]
    assert [line.get_label() for line in across.lines] == ["cg model.l2=0.1", "cg model.l2=0.2"]
