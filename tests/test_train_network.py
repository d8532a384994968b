"""`repro train` of a network: the fit that its model chooses, what is said of θ̂, going on after a kill."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import erm.descent
from erm.fit import Fit
from repro.configuration.compose import compose
from repro.configuration.shortest import shortest_overrides
from repro.fit_checkpoint import FitCheckpoint
from repro.folder.naming import determining
from repro.folder.paths import RunFolder
from repro.session import Session
from repro.stages.train import train
from tests.command_line import repro, succeed

SMALL = ("data=digits", "data.num_train=40", "model=network", "model.hidden=2", "model.l2=0.05")


def facts_of(run: Path) -> dict[str, object]:
    with safe_open(run / "model.safetensors", framework="pt") as file:
        found: dict[str, object] = json.loads(file.metadata()["facts"])
    return found


def test_a_network_is_brought_to_a_minimum_without_being_asked(tmp_path: Path) -> None:
    said = succeed("train", *SMALL, f"output_dir={tmp_path}/run")
    facts = facts_of(tmp_path / "run")
    theta = load_file(tmp_path / "run" / "model.safetensors")["theta"]
    risk = Session(compose([*SMALL])).risk
    lowest = float(torch.linalg.eigvalsh(risk.curvature(theta).matrix())[0])
    assert lowest > 0
    assert facts["smallest_eigenvalue"] == pytest.approx(lowest, rel=1e-3)
    assert f"curvature      {lowest:.1e}   the smallest eigenvalue of H at θ̂: a minimum" in said
    assert float(risk.gradient(theta).norm()) <= 1e-10
    assert not (tmp_path / "run" / "fit.safetensors").exists()


def test_what_a_model_chooses_can_be_chosen_otherwise_and_is_told_apart() -> None:
    for words in (["model=network"], ["model=network", "fit=newton"], ["fit=sgd", "model=network"], []):
        config = compose(words)
        wanted = dict(word.split("=") for word in words).get("fit", "local" if words else "newton")
        assert config.choices["fit"] == wanted
        # As from a run folder: its address stands for all that it says.
        again = compose(shortest_overrides(compose(["output_dir=x", *words])))
        assert again["fit"] == config["fit"]


def test_a_folder_of_another_fit_is_described_by_it(tmp_path: Path) -> None:
    words = [*SMALL, "fit=newton", "fit.tolerance=1e-3"]
    succeed("train", *words, f"output_dir={tmp_path}/run")
    again = compose(shortest_overrides(compose([str(tmp_path / "run")])))
    assert determining(again.values) == determining(compose(words).values)


def test_newton_steps_that_fail_on_a_network_name_the_fit_that_is_meant(tmp_path: Path) -> None:
    result = repro("train", *SMALL, "fit=newton", "fit.max_passes=20", f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    assert "take fit=local" in result.stderr


def test_a_lack_of_passes_at_a_convex_risk_asks_for_no_other_fit(tmp_path: Path) -> None:
    words = ("data=digits", "data.num_train=120", "fit.max_passes=2", "retrain=quadratic")
    result = repro("train", *words, f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.endswith(". Raise fit.max_passes or fit.tolerance")


def test_a_saddle_or_a_lack_of_passes_is_an_error_in_one_line(tmp_path: Path) -> None:
    result = repro("train", *SMALL, "fit.max_passes=20", f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "the fit has not converged: ‖∇R(θ̂)‖ = " in line
    assert "20 passes, all that are allowed. Raise fit.max_passes" in line


def test_where_it_is_undecided_nothing_else_is_said(tmp_path: Path) -> None:
    result = repro("train", *SMALL, "model.l2=0", "fit.tolerance=1e-2", f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    assert "the smallest eigenvalue of H at θ̂: not shown to be a minimum" in result.output
    assert "cannot be told" in result.stderr


class Killed(BaseException):
    """What a kill is to a test."""


def test_a_killed_training_goes_on_and_ends_at_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(erm.descent, "SEGMENT", 10)
    save, saved = FitCheckpoint.save, list[dict[str, torch.Tensor]]()
    whole, killed = (compose([*SMALL, f"output_dir={tmp_path}/{name}"]) for name in ("whole", "killed"))
    train(Session(whole))

    def save_and_die(self: FitCheckpoint, state: dict[str, torch.Tensor]) -> None:
        save(self, state)
        saved.append(state)
        if len(saved) == 3:
            raise Killed

    monkeypatch.setattr(FitCheckpoint, "save", save_and_die)
    with pytest.raises(Killed):
        train(Session(killed))
    monkeypatch.setattr(FitCheckpoint, "save", save)
    assert (tmp_path / "killed" / "fit.safetensors").exists()
    with caplog.at_level("INFO", logger="repro"):
        train(Session(killed))
    assert "the fit goes on where it was interrupted" in caplog.text
    found, expected = (facts_of(tmp_path / name) for name in ("killed", "whole"))
    for key in ("checksum", "passes", "trace", "smallest_eigenvalue"):
        assert found[key] == expected[key]


def test_the_state_of_another_fit_is_not_gone_on_from(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    state = {"theta": torch.zeros(3), "passes": torch.tensor(7)}
    mine = FitCheckpoint(folder, {"model.l2": 0.1}, "data")
    mine.save(state)
    found = mine.load()
    assert found is not None
    assert found["theta"].equal(state["theta"])
    assert FitCheckpoint(folder, {"model.l2": 0.2}, "data").load() is None
    assert FitCheckpoint(folder, {"model.l2": 0.1}, "other data").load() is None
    folder.fit_checkpoint.write_bytes(b"torn")
    assert mine.load() is None
    mine.remove()
    mine.remove()
    assert mine.load() is None


def test_a_fit_that_says_nothing_of_the_curvature_is_as_before() -> None:
    fit = Fit(theta=torch.zeros(1), value=0.0, gradient_norm=0.0, converged=True, passes=1)
    assert fit.smallest_eigenvalue is None
    assert not fit.reason


def test_without_l2_the_advice_is_l2_and_comes_before_the_work(tmp_path: Path) -> None:
    few = [*SMALL, "model.l2=0", "fit.max_passes=30"]
    result = repro("train", *few, f"output_dir={tmp_path}")
    assert result.exit_code == 1
    warning = result.stderr.index("model.l2=0: nothing keeps the curvature")
    assert warning < result.stderr.rindex(
        "With model.l2=0 the risk may have no minimiser at all: set model.l2 > 0"
    )


@pytest.mark.parametrize("asked", [["--method", "newton_step"], ["--method", "cg", "removals=groups"]])
def test_what_is_for_softmax_regression_is_refused_before_a_network_is_trained(
    asked: list[str], tmp_path: Path
) -> None:
    result = repro("run", *SMALL, *asked, f"output_dir={tmp_path / 'run'}")
    assert result.exit_code == 2
    assert "softmax regression" in result.stderr
    assert "model=logistic" in result.stderr
    assert not (tmp_path / "run").exists()
