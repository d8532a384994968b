"""`repro sweep`: Hydra runs the cross product; results are those of the runs by themselves."""

import json
from pathlib import Path

import pandas as pd
import pytest

from plots.sweep import draw_sweep
from tests.command_line import FAST, repro, succeed

SWEEP = ("--method", "cg", *FAST, "model.l2=0.01,0.1", "influence.test_index=3")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over λ and the number of points, whose path has a space."""
    folder = tmp_path_factory.mktemp("a sweep") / "out"
    succeed("sweep", *SWEEP, "influence.top_k=20,30", "--out", folder)
    return folder


@pytest.mark.slow
def test_every_combination_is_a_row_with_the_result_of_its_own_run(swept: Path, tmp_path: Path) -> None:
    table = pd.read_csv(swept / "sweep.csv")
    assert sorted(zip(table["model.l2"], table["influence.top_k"], strict=True)) == [
        (0.01, 20), (0.01, 30), (0.1, 20), (0.1, 30),
    ]  # fmt: skip
    alone = tmp_path / "run"
    succeed(
        "run",
        *SWEEP[:-2],
        "model.l2=0.1",
        "influence.test_index=3",
        "influence.top_k=30",
        f"output_dir={alone}",
    )
    expected = json.loads((alone / "summary.json").read_text())["methods"]["cg"]
    row = table[(table["model.l2"] == 0.1) & (table["influence.top_k"] == 30)].iloc[0]
    for name in ("pearson", "slope", "points"):
        assert row[name] == pytest.approx(expected[name], rel=1e-6)
    assert (swept / "sweep.png").stat().st_size > 10_000


@pytest.mark.slow
def test_runs_of_one_theta_share_it_and_their_models(swept: Path) -> None:
    table = pd.read_csv(swept / "sweep.csv").sort_values(["model.l2", "influence.top_k"])
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
    succeed("sweep", *SWEEP, "influence.top_k=20,30", "--out", swept)
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


@pytest.mark.slow
def test_another_sweep_does_not_mix_into_the_folder(swept: Path) -> None:
    result = repro("sweep", *SWEEP, "influence.top_k=20,40", "--out", swept)
    assert result.exit_code == 1
    assert "another sweep" in result.stderr


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
