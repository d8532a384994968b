"""The truth and the model as other tools take them: dattri's layout, and a state dict of torch."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr

from repro import Experiment, fit
from tests.command_line import FAST, repro, succeed

TARGETS = [3, 8]
ROUNDING = 1e-6
"""Of correlations: ours and dattri's are the same sums in another order."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with leave-one-out models and models of halves, and its truth as dattri lays it out."""
    home = tmp_path_factory.mktemp("exported")
    run, out = home / "run", home / "truth"
    overrides = (*FAST, f"test_index={TARGETS}", f"output_dir={run}")
    succeed("run", "--method", "cg", *overrides)
    succeed("lds", "--method", "cg", *overrides, "removals=halves", "removals.count=12")
    said = succeed("ground-truth", "--format", "dattri", "--out", out, *overrides)
    assert "and 12 groups of training points" in said
    return run, out


def truth_of(out: Path, metric: str) -> tuple[Any, Any]:
    """The pair that `dattri.metric` takes, loaded as its benchmarks load it."""
    return tuple(torch.load(out / metric / f"{name}_{metric}.pt") for name in ("target_values", "indices"))


def scores_of(run: Path) -> torch.Tensor:
    """Predicted changes as dattri lays scores out: training points × test points."""
    table = pd.read_csv(run / "influence" / "cg.csv")
    wide = table.pivot_table(index="train_index", columns="test_index", values="predicted_change")
    return torch.tensor(wide[TARGETS].to_numpy(dtype=np.float64))


def test_the_layout_holds_the_losses_of_fits_without_the_rows(exported: tuple[Path, Path]) -> None:
    """Fitted anew: the losses of loo and minus the losses of lds, of the rows that are listed."""
    run, out = exported
    session = Experiment(str(run)).session
    risk, (x, y) = session.risk, session.test_examples(TARGETS)
    values, indices = truth_of(out, "loo")
    assert values.shape == (len(indices), 2)
    assert indices.tolist() == sorted(set(indices.tolist()))
    kept = torch.tensor([row for row in range(300) if row != indices[7]])
    theta = fit(risk.subset(kept)).theta
    torch.testing.assert_close(values[7], risk.losses(theta, x, y), rtol=0, atol=1e-8)
    values, indices = truth_of(out, "lds")
    assert values.shape == (12, 2)
    assert indices.shape == (12, 150)
    theta = fit(risk.subset(indices[3])).theta
    torch.testing.assert_close(values[3], -risk.losses(theta, x, y), rtol=0, atol=1e-8)
    bounds = torch.load(out / "lds" / "certificates_lds.pt")
    assert bounds.shape == (12, 2)
    assert 0 < bounds.min() <= bounds.max() < 1e-4
    assert torch.load(out / "test_indices.pt").tolist() == TARGETS


def test_the_correlations_are_those_of_this_tool(exported: tuple[Path, Path]) -> None:
    """By dattri's formulas: Pearson's r with the losses, Spearman's of sums over the rows kept."""
    run, out = exported
    scores, ours = scores_of(run), pd.read_csv(run / "leave_one_out.csv")
    lds = json.loads((run / "lds.json").read_text(encoding="utf-8"))["methods"]["cg"]["test_points"]
    losses, left_out = truth_of(out, "loo")
    halves, kept = truth_of(out, "lds")
    sums = torch.stack([scores[rows].sum(dim=0) for rows in kept])
    for column, target in enumerate(TARGETS):
        chosen = ours.query("test_index == @target")
        places = np.searchsorted(left_out.numpy(), chosen["train_index"].to_numpy())
        found = pearsonr(scores[left_out[places], column], losses[places, column]).statistic
        expected = pearsonr(chosen["predicted_change"], chosen["actual_change"]).statistic
        assert found == pytest.approx(expected, abs=ROUNDING)
        found = spearmanr(sums[:, column], halves[:, column]).statistic
        assert found == pytest.approx(lds[str(target)]["value"], abs=ROUNDING)


def test_dattri_itself_agrees(exported: tuple[Path, Path]) -> None:
    metric = pytest.importorskip("dattri.metric")
    run, out = exported
    scores, lds = scores_of(run), json.loads((run / "lds.json").read_text(encoding="utf-8"))
    losses, left_out = truth_of(out, "loo")
    # Its loo_corr takes scores and losses row by row and leaves the indices aside.
    found, _ = metric.loo_corr(scores[left_out], (losses, left_out))
    of_lds, _ = metric.lds(scores, truth_of(out, "lds"))
    known = np.load(_matrices(run, out))
    for column, target in enumerate(TARGETS):
        actual = known["actual_change"][column]
        r = np.corrcoef(scores[known["train_index"], column], actual)[0, 1]
        assert float(found[column]) == pytest.approx(r, abs=ROUNDING)
        points = lds["methods"]["cg"]["test_points"]
        assert float(of_lds[column]) == pytest.approx(points[str(target)]["value"], abs=ROUNDING)


def _matrices(run: Path, out: Path) -> Path:
    """The same truth as an archive of arrays."""
    path = out.with_suffix(".npz")
    succeed("ground-truth", "--out", path, *FAST, f"test_index={TARGETS}", f"output_dir={run}")
    return path


def test_what_does_not_fit_the_layout_is_refused(exported: tuple[Path, Path], tmp_path: Path) -> None:
    run, _ = exported
    overrides = (*FAST, f"output_dir={run}", "--format")
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    refused = {
        ("dattri", "--out", str(file)): "a file of that name is there",
        ("mine", "--out", str(tmp_path / "t.csv")): "--format mine: expected auto or dattri",
        ("dattri", "--out", str(tmp_path / "t"), "removals=random_groups"): "subsets of one size",
    }
    for words, line in refused.items():
        result = repro("ground-truth", *overrides, *words)
        assert result.exit_code == 2, result.output
        assert line in result.stderr
    assert file.read_text(encoding="utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("bias", "suffix"), [(False, ".pt"), (True, ".safetensors")])
def test_the_state_dict_gives_the_very_same_logits(tmp_path: Path, bias: bool, suffix: str) -> None:
    run, out = tmp_path / "run", tmp_path / f"linear{suffix}"
    overrides = (*FAST, f"model.bias={str(bias).lower()}", f"output_dir={run}")
    succeed("train", *overrides)
    assert "torch.nn.Linear(64, 10" in succeed("export-model", "--out", out, *overrides)
    model = torch.nn.Linear(64, 10, bias=bias, dtype=torch.float64)
    model.load_state_dict(torch.load(out, weights_only=True) if suffix == ".pt" else load_file(out))
    experiment = Experiment(str(run))
    risk, theta = experiment.session.risk, experiment.session.model().theta
    x = torch.from_numpy(experiment.session.dataset.x_test)
    logits = risk.features(x) @ risk.weights(theta).T  # type: ignore[attr-defined]
    # A bias is added to the product instead of inside it: the last bit may differ.
    torch.testing.assert_close(
        model(x), logits, rtol=0, atol=1e-14 * float(logits.abs().max()) if bias else 0
    )


def test_a_model_of_other_names_is_refused(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    refused = repro("export-model", run, "--out", tmp_path / "model.onnx")
    assert refused.exit_code == 2
    assert "ends in .pt or .safetensors" in refused.stderr
