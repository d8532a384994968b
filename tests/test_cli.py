"""The commands as a user types them: results, interfaces, and what they say when something is wrong."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cli.main import app
from repro.agreement import COLUMNS
from repro.configuration.compose import compose, groups
from tests.command_line import FAST, repro, succeed

METHODS = ("exact", "cg", "lissa", "grad_dot")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with all four stages done."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    methods = [word for name in METHODS for word in ("--method", name)]
    succeed("run", *methods, *FAST, "plot.formats=[png,pdf]", f"output_dir={folder}")
    return folder


@pytest.mark.figures
def test_the_figure_on_digits(tmp_path: Path) -> None:
    """The README's first command on the whole data set: influence predicts what retraining finds."""
    folder = tmp_path / "run"
    succeed(
        "run",
        "--method",
        "cg",
        "--method",
        "lissa",
        "data=digits",
        "plot.formats=[png]",
        f"output_dir={folder}",
    )
    summary = json.loads((folder / "summary.json").read_text())
    cg, lissa = summary["methods"]["cg"], summary["methods"]["lissa"]
    assert cg["pearson"] > 0.9999
    # One digit of 1,500 is 40 times as heavy as one of 55,000, and influence is first order: the actual
    # changes are larger than predicted by about the leverage, a few per cent.
    assert 1.0 < cg["slope"] < 1.1
    assert abs(cg["intercept"]) < 2e-4
    # LiSSA with the paper's settings leaves (1 − 0.01/25)^5000 = 13 % of the slowest mode.
    assert lissa["pearson"] > 0.99
    assert 0.93 < lissa["slope"] < 1.2
    assert summary["max_certificate"] < 1e-5
    assert abs(summary["null_control"]) <= summary["null_control_certificate"]


def test_summary_and_table_are_the_documented_interface(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary) == {"methods", "max_certificate", "null_control", "null_control_certificate"}
    assert set(summary["methods"]) == set(METHODS)
    keys = {"pearson", "spearman", "slope", "intercept", "max_abs_error", "points", "seconds"}
    assert all(set(result) == keys for result in summary["methods"].values())
    table = pd.read_csv(finished / "leave_one_out.csv")
    assert tuple(table.columns) == COLUMNS
    assert COLUMNS == (
        "method", "test_index", "train_index", "label",
        "predicted_change", "predicted_stderr", "actual_change", "certificate",
        "truth", "margin", "selection", "predicted_certificate",
    )  # fmt: skip
    assert table.groupby("method").size().to_dict() == dict.fromkeys(summary["methods"], 40)


def test_summary_follows_from_the_table(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    table = pd.read_csv(finished / "leave_one_out.csv")
    for method, rows in table.groupby("method"):
        slope, intercept = np.polyfit(rows["predicted_change"], rows["actual_change"], 1)
        result = summary["methods"][method]
        assert result["slope"] == pytest.approx(slope, rel=1e-9)
        assert result["intercept"] == pytest.approx(intercept, abs=1e-12)
        assert result["pearson"] == pytest.approx(
            rows[["predicted_change", "actual_change"]].corr().iloc[0, 1]
        )
        errors = (rows["actual_change"] - rows["predicted_change"]).abs()
        assert result["max_abs_error"] == pytest.approx(errors.max())
    assert summary["max_certificate"] == table["certificate"].max()


def test_influence_table_scores_every_training_point_and_selects_the_largest(finished: Path) -> None:
    table = pd.read_csv(finished / "influence" / "cg.csv")
    assert len(table) == 300
    np.testing.assert_allclose(table["predicted_change"], -table["influence"] / 300, rtol=1e-12)
    drawn = pd.read_csv(finished / "leave_one_out.csv").query("method == 'cg'")
    largest = table.reindex(table["influence"].abs().sort_values(ascending=False).index)[:40]
    assert drawn["train_index"].tolist() == largest["train_index"].tolist()


def test_run_folder_holds_what_the_documentation_lists(finished: Path) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    weights = {name for name in names if name.startswith("retrain/weights/")}
    assert weights
    assert names - weights == {
        "checksums.json",
        ".lock",
        "config.yaml",
        "provenance.json",
        "model.safetensors",
        *(f"influence/{name}.{suffix}" for name in METHODS for suffix in ("csv", "json")),
        "influence/lissa.safetensors",
        "retrain/record.json",
        "l2_terms.safetensors",
        "leave_one_out.csv",
        "summary.json",
        *(f"plots/{name}.{suffix}" for name in ("leave_one_out", "errors") for suffix in ("png", "pdf")),
    }


def test_run_skips_what_is_done_and_keeps_it_as_it_was(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors")}
    before |= {path: path.stat().st_mtime_ns for path in (finished / "influence").iterdir()}
    said = succeed("run", "--method", "cg", *FAST, f"output_dir={finished}")
    assert "already trained" in said
    assert "already predicted" in said
    assert "0 solved now" in said
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_several_test_points_stand_side_by_side(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    succeed("run", "--method", "cg", *FAST, "test_index=[3,14]", f"output_dir={folder}")
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["test_points"]) == ["3", "14"]
    first = summary["test_points"]["3"]
    assert {key: summary[key] for key in first} == first
    assert first["methods"]["cg"]["slope"] != summary["test_points"]["14"]["methods"]["cg"]["slope"]
    table = pd.read_csv(folder / "leave_one_out.csv")
    assert sorted(table["test_index"].unique()) == [3, 14]


@pytest.mark.figures
def test_the_style_is_the_scatter_s_and_galleries_of_earlier_versions_go(tmp_path: Path) -> None:
    overrides = [*FAST, "test_index=[3,14]", f"output_dir={tmp_path}/run"]
    succeed("run", "--method", "cg", *overrides)
    figures = tmp_path / "run" / "plots"
    default = (figures / "leave_one_out.png").read_bytes()
    before = {path.name: path.read_bytes() for path in figures.iterdir() if "leave_one_out" not in path.name}
    (figures / "gallery_3.png").touch()
    assert f"the figures in {figures}" in succeed("plot", "plot=paper", *overrides)
    assert (figures / "leave_one_out.png").read_bytes() != default
    # The style is the scatter's alone, and the others are written byte for byte as before.
    after = {path.name: path.read_bytes() for path in figures.iterdir() if "leave_one_out" not in path.name}
    assert after == before


def test_own_arrays_of_an_npz_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 6))
    labels = generator.integers(0, 3, size=240)
    features = centres[labels] + generator.normal(size=(240, 6))
    np.savez(
        tmp_path / "mine.npz",
        x_train=features[:200],
        y_train=labels[:200],
        x_test=features[200:],
        y_test=labels[200:],
    )
    succeed(
        "run", "--method", "exact", "data=npz", f"data.path={tmp_path}/mine.npz", "model.bias=true",
        "top_k=50", "plot.formats=[png]", f"output_dir={tmp_path}/run",
    )  # fmt: skip
    result = json.loads((tmp_path / "run" / "summary.json").read_text())["methods"]["exact"]
    assert {path.name for path in (tmp_path / "run" / "plots").glob("*.png")} == {
        "leave_one_out.png",
        "errors.png",
    }
    # 200 examples: one weighs half a per cent, and influence is first order in that weight.
    assert result["pearson"] > 0.998
    assert 0.95 < result["slope"] < 1.15


def test_the_autograd_model_predicts_the_same_but_is_not_retrained(tmp_path: Path, finished: Path) -> None:
    folder = tmp_path / "run"
    overrides = [*FAST, "model=logistic_autograd", f"output_dir={folder}"]
    succeed("train", *overrides)
    succeed("influence", "--method", "exact", *overrides)
    ours, theirs = (pd.read_csv(path / "influence" / "exact.csv") for path in (folder, finished))
    # Two minimisers of gradient norm 1e-10, two Hessians alike to rounding.
    np.testing.assert_allclose(ours["predicted_change"], theirs["predicted_change"], rtol=1e-6, atol=1e-10)
    result = repro("retrain", *overrides)
    assert result.exit_code == 1
    assert "model=logistic" in result.stderr


BAD_COMMAND_LINES = {
    "unknown key": (["train", "model.l3=1"], "model.l2"),
    "unknown group": (["train", "dta=digits"], "data"),
    "unknown choice": (["train", "data=mnst"], "mnist"),
    "unknown method": (["influence", "--method", "lisa"], "lissa"),
    "setting of another method": (["influence", "--method", "exact", "influence.depth=7"], "influence.depth"),
    "setting of no method": (["run", "-m", "cg", "-m", "exact", "influence.depth=7"], "influence.depth"),
    "wrong type": (["train", "model.l2=abc"], "model.l2=abc"),
    "fraction for a count": (["influence", "influence.depth=1.5"], "influence.depth=1.5"),
    "negative l2": (["train", "model.l2=-1"], "greater than or equal to 0"),
    "l2 not a number": (["train", "model.l2=nan"], "finite"),
    "top_k 0": (["influence", "top_k=0"], "top_k=0"),
    "top_k above n": (["influence", "top_k=1501"], "1500"),
    "test index above range": (["influence", "test_index=297"], "296"),
    "one test index of several above range": (["influence", "test_index=[1,297]"], "296"),
    "negative test index": (["influence", "test_index=-1"], "test_index"),
    "test index of no kind": (["influence", "test_index=misclasified"], "misclassified"),
    "too many training points": (["train", "data.num_train=1501"], "1500"),
    "not an override": (["train", "model.l2"], "KEY=VALUE"),
    "removed key": (["train", "~model"], "~model"),
    "added key": (["train", "+colour=red"], "colour"),
    "sweep": (["train", "model.l2=0.1,0.2"], "model.l2=0.1,0.2"),
    "missing mandatory value": (["train", "data=npz"], "data.path"),
    "missing file": (["train", "data=npz", "data.path=/nowhere/at/all.npz"], "/nowhere/at/all.npz"),
    "target that does not exist": (["train", "model._target_=no.such.thing"], "no.such.thing"),
    "gpus below 0": (["retrain", "--gpus", "-1"], "--gpus"),
}


@pytest.mark.parametrize("case", BAD_COMMAND_LINES)
def test_bad_input_exits_2_says_what_is_wrong_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, said = BAD_COMMAND_LINES[case]
    digits = [] if any("data=" in argument for argument in arguments) else ["data=digits"]
    result = repro(*arguments, *digits)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_no_misclassified_test_point_is_said_before_any_work(tmp_path: Path) -> None:
    labels = np.array([0, 1] * 20)
    features = np.stack([labels, 1 - labels], axis=1).astype(float)
    np.savez(tmp_path / "easy.npz", x_train=features, y_train=labels, x_test=features[:4], y_test=labels[:4])
    overrides = [
        "data=npz",
        f"data.path={tmp_path}/easy.npz",
        f"output_dir={tmp_path}/run",
        "top_k=5",
    ]
    succeed("train", *overrides)
    result = repro("influence", "--method", "cg", *overrides)
    assert result.exit_code == 2
    assert "test_index=0" in result.stderr
    assert not (tmp_path / "run" / "influence").exists()


def test_output_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        result = repro("train", *FAST, f"output_dir={path}")
        assert result.exit_code == 2
        assert str(tmp_path / "file") in result.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("stage", "needs"),
    [("influence", "repro train"), ("retrain", "repro train"), ("plot", "repro train")],
)
def test_a_stage_without_its_input_names_the_command_to_run(tmp_path: Path, stage: str, needs: str) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    result = repro(stage, *overrides)
    assert result.exit_code == 1
    assert f"{needs} {shlex.join(overrides)}" in result.stderr


def test_later_stages_name_the_stage_before_them(tmp_path: Path) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    succeed("train", *overrides)
    assert "repro influence --method lissa data=digits" in repro("retrain", *overrides).stderr
    succeed("influence", "--method", "cg", *overrides)
    result = repro("plot", *overrides)
    assert result.exit_code == 1
    assert "repro retrain data=digits" in result.stderr


def test_a_folder_of_another_configuration_is_refused_with_both_values(finished: Path) -> None:
    result = repro("influence", "--method", "cg", *FAST, "model.l2=0.5", f"output_dir={finished}")
    assert result.exit_code == 1
    assert "model.l2: 0.01 there, 0.5 asked for" in result.stderr


def test_predictions_for_another_test_point_or_setting_are_refused_with_both_values(tmp_path: Path) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    succeed("train", *overrides)
    succeed("influence", "--method", "lissa", *overrides, "influence.depth=50", "test_index=3")
    other_point = repro("plot", *overrides, "test_index=4")
    assert other_point.exit_code == 1
    assert "[3]" in other_point.stderr
    assert "[4]" in other_point.stderr
    other_depth = repro("plot", *overrides, "test_index=3", "influence.depth=60")
    assert other_depth.exit_code == 1
    assert "influence.depth: 50 there, 60 asked for" in other_depth.stderr


def test_another_configuration_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for override in ("model.l2=0.01", "model.l2=0.02", "data.num_train=299", "fit.tolerance=1e-9"):
        succeed("train", *FAST, override)
    succeed("train", *FAST, "device=cpu", "top_k=7", "plot.limits=0.1")  # do not determine θ̂
    assert len(list((tmp_path / "outputs").iterdir())) == 4


@pytest.mark.parametrize("method", ["exact", "cg"])
def test_a_singular_hessian_is_said_with_the_remedy(tmp_path: Path, method: str) -> None:
    overrides = [*FAST, "model.l2=0", "fit.max_passes=30", f"output_dir={tmp_path}/run"]
    trained = repro("train", *overrides)
    assert trained.exit_code == 1
    assert "not converged" in trained.stderr
    result = repro("influence", "--method", method, *overrides)
    assert result.exit_code == 1
    assert "influence.damping" in result.stderr
    assert not (tmp_path / "run" / "influence" / f"{method}.csv").exists()
    assert json.loads((tmp_path / "run" / "influence" / f"{method}.json").read_text())["solutions"][0][
        "message"
    ]
    succeed("influence", "--method", method, *overrides, "influence.damping=0.01")


@pytest.mark.figures
def test_a_method_that_diverges_does_not_keep_the_others_from_the_figure(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    diverging = ("influence.scale=0.5", "influence.allow_divergence=true")
    result = repro("run", "-m", "cg", "-m", "lissa", *FAST, *diverging, f"output_dir={folder}")
    assert result.exit_code == 1
    assert "scale" in result.stderr
    assert list(json.loads((folder / "summary.json").read_text())["methods"]) == ["cg"]
    # The record of the divergence is JSON for every reader, though its norms overflow.
    record = json.loads((folder / "influence" / "lissa.json").read_text(), parse_constant=pytest.fail)
    assert record["solutions"][0]["status"] == "diverged"
    # Its norms are there to be looked at, up to the one at which it was stopped.
    assert record["solutions"][0]["trace"][-1][0] < 5000
    assert (folder / "plots" / "trace_lissa.png").exists()


def test_a_scale_below_the_curvature_is_refused_with_one_that_holds(tmp_path: Path) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    succeed("train", *overrides)
    result = repro("influence", "--method", "lissa", *overrides, "influence.scale=0.5")
    assert result.exit_code == 2
    assert "not started" in result.stderr
    advised = result.stderr.split("influence.scale=")[1].split("`")[0]
    succeed("influence", "--method", "lissa", *overrides, f"influence.scale={advised}")


def test_more_gpus_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    result = repro("retrain", "--gpus", "4", *FAST)
    assert result.exit_code == 2
    assert "2 GPUs" in result.stderr


def test_every_choice_of_every_group_composes() -> None:
    needed = {"npz": ["data.path=mine.npz"], "indices": ["removals.indices=[1]"]}
    needed["file"] = ["removals.path=groups.json"]
    for group, names in groups().items():
        for name in names:
            assert compose([f"{group}={name}", *needed.get(name, [])]).choices[group] == name


def test_config_prints_what_is_composed_and_what_can_be_chosen() -> None:
    assert "l2: 0.5" in succeed("config", "model.l2=0.5")
    assert "influence=cg|exact|grad_dot|lissa" in succeed("config", "--groups")


def test_help_and_usage_errors_do_not_wait_for_torch() -> None:
    code = (
        "import sys; from cli.main import app; from typer.testing import CliRunner\n"
        "for line in (['--help'], ['run', '--help'], ['train', 'model.l2=-1'], ['config', '--groups']):\n"
        "    CliRunner().invoke(app, line)\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SPEAKING = {"--quiet", "--log-json", "--help"}
OPENS_A_FOLDER = {*SPEAKING, "--trust-code"}
OPTIONS = {
    "train": OPENS_A_FOLDER,
    "influence": {"--method", "-m", "--gpus", *OPENS_A_FOLDER},
    "retrain": {"--gpus", *OPENS_A_FOLDER},
    "plot": OPENS_A_FOLDER,
    "run": {"--method", "-m", "--gpus", *OPENS_A_FOLDER},
    "report": {"--open", *OPENS_A_FOLDER},
    "diagnose": {"--method", "-m", *OPENS_A_FOLDER},
    "compare": OPENS_A_FOLDER,
    "check": {"--data-root", *OPENS_A_FOLDER},
    "sweep": {"--method", "-m", "--out", "-o", *OPENS_A_FOLDER},
    "config": {"--method", "-m", "--groups", "--log-json", "--help"},
    "ground-truth": {"--out", "-o", "--test-index", "-t", "--format", *OPENS_A_FOLDER},
    "export-model": {"--out", "-o", *OPENS_A_FOLDER},
    "lds": {"--method", "-m", "--gpus", "--sgd-seeds", *OPENS_A_FOLDER},
    "score": {"--against", "--into", "--format", *OPENS_A_FOLDER},
}


def test_the_commands_their_order_and_their_options_are_these() -> None:
    """Scripts of others use them: a change here is a change of the interface."""
    from typer.main import get_command

    found = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
        | {"--help"}
        for name, command in get_command(app).commands.items()  # type: ignore[attr-defined]
    }
    assert found == OPTIONS
    assert list(found) == list(OPTIONS)


@pytest.mark.parametrize("command", ["", *OPTIONS])
def test_help_teaches_with_examples(command: str) -> None:
    said = succeed(*([command] if command else []), "--help")
    assert "repro" in said
    assert "Examples" in said or not command
