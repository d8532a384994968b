"""The linear datamodeling score, and the interval that certificates leave of it."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from plots.rank_interval import spearman_interval
from repro.folder.checked_files import remedy_for
from repro.folder.manifest import write_json_result
from repro.folder.paths import RunFolder
from repro.noisy_truth import noisy_score
from tests.command_line import FAST, repro, succeed


def every_order_within(actual: np.ndarray, bound: np.ndarray) -> list[tuple[int, ...]]:
    """All orders that some truths within the bounds have, by their definition: place k can follow place k − 1
    if some value above it is left."""
    found = []
    for order in itertools.permutations(range(len(actual))):
        value = -np.inf
        for place in order:
            value = max(value, actual[place] - bound[place])
            if value > actual[place] + bound[place]:
                break
        else:
            found.append(order)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_interval_holds_every_order_that_the_bounds_allow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, actual = rng.normal(size=6), rng.normal(size=6)
    bound = rng.uniform(0, 0.8, size=6) * (rng.random(6) < 0.7)
    found = spearman_interval(predicted, actual, bound)
    correlations = []
    for order in every_order_within(actual, bound):
        ranks = np.empty(6)
        ranks[list(order)] = np.arange(6)
        correlations.append(float(spearmanr(predicted, ranks).statistic))
    assert found.value == pytest.approx(float(spearmanr(predicted, actual).statistic))
    assert found.lowest <= min(correlations) + 1e-12
    assert found.highest >= max(correlations) - 1e-12
    # And it is no wider than it has to be by much.
    assert min(correlations) - found.lowest <= 0.35
    assert found.highest - max(correlations) <= 0.35


def test_exact_truths_leave_no_interval_and_unknown_ones_leave_everything() -> None:
    rng = np.random.default_rng(0)
    predicted, actual = rng.normal(size=50), rng.normal(size=50)
    exact = spearman_interval(predicted, actual, np.zeros(50))
    assert exact.lowest == pytest.approx(exact.value)
    assert exact.highest == pytest.approx(exact.value)
    unknown = spearman_interval(predicted, actual, np.full(50, np.inf))
    assert unknown.lowest == pytest.approx(-1)
    assert unknown.highest == pytest.approx(1)
    assert np.isnan(spearman_interval(np.ones(50), actual, np.zeros(50)).value)


def test_half_models_score_the_exact_method_above_the_baseline(tmp_path: Path) -> None:
    overrides = [*FAST, "removals.count=40", "test_index=[14,3]", f"output_dir={tmp_path}/run"]
    said = succeed("lds", "--method", "exact", "--method", "grad_dot", *overrides)
    assert "40 models" in said
    found = json.loads((tmp_path / "run" / "lds.json").read_text())
    exact, baseline = (found["methods"][name]["mean"] for name in ("exact", "grad_dot"))
    assert found["models"] == 40
    assert exact["value"] > 0.8 > baseline["value"]
    assert exact["highest"] - exact["lowest"] < 1e-3
    points = found["methods"]["exact"]["test_points"]
    assert exact["value"] == pytest.approx(np.mean([points[name]["value"] for name in ("14", "3")]))
    removals = json.loads((tmp_path / "run" / "removals.json").read_text())
    assert [len(rows) for rows in removals] == [150] * 40


def test_single_points_have_no_such_score() -> None:
    result = repro("lds", *FAST, "removals=all")
    assert result.exit_code == 2
    assert "removals=all makes single points" in result.stderr


@pytest.mark.slow
def test_noise_of_sgd_costs_rank_correlation_and_more_seeds_less(tmp_path: Path) -> None:
    overrides = [*FAST, "removals.count=30", "test_index=14", f"output_dir={tmp_path}/run"]
    said = succeed("lds", "--method", "exact", "--sgd-seeds", "4", *overrides)
    assert "trained by SGD, 4 seeds" in said
    found = json.loads((tmp_path / "run" / "lds.json").read_text())
    assert found["sgd_seeds"] == 4
    exact, noisy = found["methods"]["exact"]["test_points"]["14"], found["methods"]["exact"]["sgd"]["14"]
    # The certified losses themselves, which are right, do not score 1 beside SGD's.
    truth = found["sgd_truth"]["14"]
    assert truth["lowest"] < truth["one_seed"] < truth["highest"] < 0.999
    assert truth["one_seed"] < truth["mean_of_seeds"] < 1
    assert noisy["one_seed"] < exact["value"]
    # Without the option nothing of it is said.
    succeed("lds", "--method", "exact", *overrides)
    assert "sgd_truth" not in json.loads((tmp_path / "run" / "lds.json").read_text())


def test_noise_averages_out_over_seeds() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    losses = truth + rng.normal(size=(200, 40))
    few, many = noisy_score(truth, losses[:4]), noisy_score(truth, losses)
    assert few.one_seed < few.mean_of_seeds < many.mean_of_seeds
    assert many.mean_of_seeds > 0.98
    assert few.lowest == pytest.approx(min(spearmanr(truth, own).statistic for own in losses[:4]))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run with scores of two methods, and its overrides without the folder."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    overrides = [*FAST, "removals.count=12", "test_index=[14,3]"]
    succeed("lds", "--method", "exact", "--method", "grad_dot", *overrides, f"output_dir={folder}")
    return folder, overrides


def test_damaged_scores_are_made_again_by_the_command_that_check_names(
    scored: tuple[Path, list[str]], tmp_path: Path
) -> None:
    copy = shutil.copytree(scored[0], tmp_path / "run")
    before = (copy / "lds.json").read_text()
    (copy / "lds.json").write_text(before.replace('"models": 12', '"models": 13'))
    result = repro("check", copy)
    assert result.exit_code == 1
    assert "`repro lds` as before makes lds.json again" in " ".join(result.output.split())
    assert "repro run" not in result.output
    overrides = [*scored[1], f"output_dir={copy}"]
    succeed("lds", "--method", "exact", "--method", "grad_dot", *overrides)
    assert (copy / "lds.json").read_text() == before
    succeed("check", copy)


@pytest.mark.parametrize("wrong", [{"value": "0.9"}, {"lowest": True}, {"highest": []}], ids=repr)
def test_scores_of_another_form_are_named_on_one_line(
    scored: tuple[Path, list[str]], tmp_path: Path, wrong: dict[str, object]
) -> None:
    folder = RunFolder(shutil.copytree(scored[0], tmp_path / "run"))
    forged = json.loads(folder.datamodeling.read_text())
    forged["methods"]["exact"]["mean"].update(wrong)
    write_json_result(folder, folder.datamodeling, forged)
    result = repro("check", folder.path)
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if "lds.json is not of the form" in line]
    assert f"methods.exact.mean.{next(iter(wrong))}" in line


def test_scores_under_true_checksums_are_held_against_the_table(
    scored: tuple[Path, list[str]], tmp_path: Path
) -> None:
    assert "good  linear datamodeling scores: every score" in succeed("check", scored[0])
    folder = RunFolder(shutil.copytree(scored[0], tmp_path / "run"))
    for where in (("mean", "value"), ("test_points", "3", "lowest")):
        forged = json.loads((scored[0] / "lds.json").read_text())
        inner = forged["methods"]["exact"]
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] += 1e-5
        write_json_result(folder, folder.datamodeling, forged)
        result = repro("check", folder.path)
        assert result.exit_code == 1
        assert "BAD   linear datamodeling scores" in result.output
        assert f"{where[-1]} of exact" in result.output


def test_remedies_name_the_commands_that_make_the_files() -> None:
    assert remedy_for(["compare.csv"]) == "`repro compare` as before makes compare.csv again"
    both = remedy_for(["diagnosis.json", "groups.csv"])
    assert "`repro diagnose` as before makes diagnosis.json again" in both
    assert "`repro run` with the same configuration sets aside the rest" in both
