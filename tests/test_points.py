"""Any training points can be left out, and any test point be answered from what is stored."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.command_line import FAST, repro, succeed


@pytest.fixture(scope="module")
def all_points(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a run folder that has every training point retrained, before any prediction was made."""
    overrides = [*FAST, f"output_dir={tmp_path_factory.mktemp('all')}/run"]
    succeed("train", *overrides)
    assert "300 leave-one-out models" in succeed("retrain", *overrides, "removals=all")
    return overrides


def table_of(overrides: list[str]) -> pd.DataFrame:
    return pd.read_csv(Path(overrides[-1].removeprefix("output_dir=")) / "leave_one_out.csv")


def test_any_test_point_is_answered_without_retraining(all_points: list[str]) -> None:
    asked = [*all_points[:-1], "test_index=[3,5,14]", all_points[-1]]
    succeed("influence", "--method", "exact", *asked)
    succeed("plot", *asked)
    table = table_of(asked)
    assert table.groupby("test_index").size().to_dict() == {3: 40, 5: 40, 14: 40}
    assert set(table["selection"]) == {"influential"}
    assert (table["actual_change"] - table["predicted_change"]).abs().max() < 0.1
    assert "0 solved now" in succeed("retrain", *asked)


def test_a_method_keeps_the_test_points_it_has_explained(all_points: list[str]) -> None:
    folder = Path(all_points[-1].removeprefix("output_dir="))
    for test_index in ("3", "[5,3]", "14"):
        succeed("influence", "--method", "cg", f"test_index={test_index}", *all_points)
    table = pd.read_csv(folder / "influence" / "cg.csv")
    assert table.groupby("test_index").size().to_dict() == {3: 300, 5: 300, 14: 300}
    record = json.loads((folder / "influence" / "cg.json").read_text())
    assert [entry["test_index"] for entry in record["solutions"]] == record["test_index"] == [5, 3, 14]
    # Another setting makes another method of it: what was found before does not count.
    succeed("influence", "--method", "cg", "influence.damping=0.1", "test_index=7", *all_points)
    assert set(pd.read_csv(folder / "influence" / "cg.csv")["test_index"]) == {7}


@pytest.mark.parametrize(
    ("settings", "name", "count"),
    [([], "all", 300), (["removals.count=25"], "random", 25), (["removals.indices=[250,7]"], "indices", 2)],
)
def test_every_method_is_plotted_on_the_same_chosen_points(
    all_points: list[str], settings: list[str], name: str, count: int
) -> None:
    asked = ["test_index=14", f"removals={name}", *settings, *all_points]
    for method in ("exact", "grad_dot"):
        succeed("influence", "--method", method, *asked)
    succeed("plot", *asked)
    table = table_of(asked)
    assert set(table["selection"]) == {name}
    chosen = [frozenset(rows["train_index"]) for _, rows in table.groupby("method")]
    assert len(chosen) == 2
    assert len(set(chosen)) == 1
    assert len(chosen[0]) == count
    # Chosen without looking at the predictions, the points agree all the same. One of 300 is heavy, and
    # influence is first order: hence the slope.
    exact = table[table["method"] == "exact"]
    if count > 2:
        r = np.corrcoef(exact["predicted_change"], exact["actual_change"])[0, 1]
        slope = np.polyfit(exact["predicted_change"], exact["actual_change"], 1)[0]
        assert r > 0.99
        assert 1 < slope < 1.3


def test_random_points_follow_the_seed(all_points: list[str]) -> None:
    drawn = []
    for seed in (0, 0, 1):
        asked = [f"removals.seed={seed}", "removals=random", "removals.count=25", *all_points]
        succeed("influence", "--method", "grad_dot", *asked)
        succeed("plot", *asked)
        drawn.append(set(table_of(asked)["train_index"]))
    assert drawn[0] == drawn[1] != drawn[2]


def test_points_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    asked = {"removals.indices=[3,300]": "300: there are 300 training points; expected 0 … 299"}
    asked["removals.indices=[3,8,3]"] = "3: it is named twice; name each training point once"
    asked["removals.count=301"] = "301: there are 300 training points; expected 1 … 300"
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    for override, said in asked.items():
        kind = f"removals={'indices' if 'indices' in override else 'random'}"
        # Before anything is trained.
        result = repro("run", "--method", "cg", *overrides, kind, override)
        assert result.exit_code == 2
        key = override.split("=")[0]
        assert f"error: {key}={said}" in " ".join(result.stderr.split())
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_exported_ground_truth_is_that_of_the_table(
    all_points: list[str], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"truth.{suffix}"
    succeed("ground-truth", "-t", "14", "-t", "3", "--out", out, *all_points)
    truth = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert list(truth.columns) == ["test_index", "train_index", "actual_change", "certificate"]
    assert truth["train_index"].tolist() == [*range(300), *range(300)]
    succeed("influence", "--method", "exact", "test_index=14", *all_points)
    succeed("plot", "test_index=14", "removals=all", *all_points)
    table = table_of(all_points)
    expected = table[table["method"] == "exact"].sort_values("train_index")
    # Products of two test points and of one may add their terms in another order: changes of 0.02 by 1e-17.
    np.testing.assert_allclose(truth["actual_change"][:300], expected["actual_change"], rtol=0, atol=1e-16)
    np.testing.assert_allclose(truth["certificate"][:300], expected["certificate"], rtol=1e-14)


def test_ground_truth_needs_a_known_format_and_stored_models(tmp_path: Path) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    result = repro("ground-truth", "--out", tmp_path / "truth.txt", *overrides)
    assert result.exit_code == 2
    assert ".parquet" in result.stderr
    succeed("train", *overrides)
    result = repro("ground-truth", "--out", tmp_path / "truth.csv", *overrides)
    assert result.exit_code == 1
    assert "repro retrain" in result.stderr


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_damaged_predictions_are_named_and_left_out(tmp_path: Path, suffix: str) -> None:
    overrides = [*FAST, f"output_dir={tmp_path}/run"]
    succeed("run", "--method", "exact", "--method", "cg", *overrides)
    path = tmp_path / "run" / "influence" / f"cg.{suffix}"
    content = path.read_text()
    path.write_text(content[: len(content) // 2] if suffix == "json" else content.replace("7", "8", 1))
    result = repro("plot", *overrides)
    assert result.exit_code == 0
    assert "cg" in result.stderr
    assert "repro influence --method cg" in result.stderr
    assert set(table_of(overrides)["method"]) == {"exact"}
    # `run` computes it again, and then both are there.
    succeed("run", "--method", "exact", "--method", "cg", *overrides)
    assert set(table_of(overrides)["method"]) == {"exact", "cg"}
