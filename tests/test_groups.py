"""Groups of training rows: which are left out, what is predicted of them, what the run folder says."""

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from plots.groups import agreement_by_size, draw_agreement_by_size, draw_groups
from repro.group_agreement import predicted_group_changes
from retrain.clusters import SKETCHED, gradients
from retrain.group_kinds import halves, random_groups, study_groups
from tests.browser import opened
from tests.command_line import FAST, repro, succeed


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run of random groups, by a method without noise and one with; test points 14 and 3."""
    folder = tmp_path_factory.mktemp("groups") / "run"
    overrides = [
        *FAST, "removals=random_groups", "removals.sizes=[0.01,0.1,0.3]", "removals.count=5",
        "test_index=[14,3]", f"output_dir={folder}",
    ]  # fmt: skip
    succeed("run", "--method", "exact", "--method", "lissa_auto", *overrides)
    return folder, overrides


def by_point(path: Path, column: str) -> dict[Any, float]:
    """A column of a method's table, by test point and training point."""
    return pd.read_csv(path).set_index(["test_index", "train_index"])[column].to_dict()


def test_the_table_of_groups_is_sums_of_members_beside_certified_changes(
    grouped: tuple[Path, list[str]],
) -> None:
    folder, _ = grouped
    table = pd.read_csv(folder / "groups.csv")
    removals = json.loads((folder / "removals.json").read_text())
    assert list(table.columns) == [
        "method", "test_index", "removal", "size", "predicted_change", "predicted_stderr", "actual_change",
        "certificate", "truth", "margin", "selection", "predicted_certificate",
    ]  # fmt: skip
    assert len(table) == 2 * 2 * 15
    assert len(removals) == 15
    assert table["size"].tolist() == [len(removals[place]) for place in table["removal"]]
    assert not (folder / "leave_one_out.csv").exists()
    own = by_point(folder / "influence" / "exact.csv", "predicted_change")
    exact = table[table["method"] == "exact"]
    for row in exact.itertuples():
        members = [own[row.test_index, i] for i in removals[int(str(row.removal))]]
        assert row.predicted_change == pytest.approx(sum(members), rel=1e-9)
    # Of 3 rows out of 300 the first order is nearly all; of 90 it is not.
    error = (exact["actual_change"] - exact["predicted_change"]).abs()
    assert error[exact["size"] == 3].max() < 0.3 * error[exact["size"] == 90].max()
    assert table["certificate"].max() < 1e-5


def test_check_follows_groups_to_the_weights_and_notices_what_does_not(
    grouped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, _ = grouped
    said = succeed("check", folder)
    assert "groups: actual changes: 60 rows" in said.replace("\n", " ")
    from shutil import copytree

    from repro.folder.manifest import write_text_result
    from repro.folder.paths import RunFolder

    forged = RunFolder(copytree(folder, tmp_path / "forged"))
    table = pd.read_csv(forged.groups)
    table["actual_change"] += 1e-6 * (table.index == 0)
    write_text_result(forged, forged.groups, table.to_csv(index=False))
    result = repro("check", forged.path)
    assert result.exit_code == 1
    assert "BAD   groups: actual changes" in result.output
    removals = json.loads(forged.removals.read_text())
    write_text_result(forged, forged.removals, json.dumps([*removals[1:], removals[0]]))
    result = repro("check", forged.path)
    assert result.exit_code == 1
    assert "BAD   groups: predictions" in result.output


def test_many_rows_are_kept_in_a_compact_file(
    grouped: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shutil import copytree

    from repro.folder.manifest import write_result
    from repro.folder.paths import RunFolder
    from repro.records import group_rows

    folder, overrides = grouped
    copy = RunFolder(copytree(folder, tmp_path / "copy"))
    before = group_rows.read_removals(copy)
    monkeypatch.setattr(group_rows, "MOST_ROWS", 100)
    succeed("plot", *overrides[:-1], f"output_dir={copy.path}")
    assert json.loads(copy.removals.read_text()) == {"file": "removals.npz"}
    assert group_rows.read_removals(copy) == before
    succeed("check", copy.path)

    def save(rows: list[int]) -> None:
        numbers, offsets = np.array(rows, np.int32), np.array([0, 2, len(rows)])
        write_result(copy, copy.removal_rows, lambda path: np.savez(path, rows=numbers, offsets=offsets))

    for forged in ([1, 2, 3, 3], [2, 1, 5, 6], [1, 2]):
        save(forged)
        result = repro("check", copy.path)
        assert result.exit_code == 1
        assert "removals.npz has" in result.output


def test_groups_are_exported_with_their_rows(grouped: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, overrides = grouped
    out = tmp_path / "truth.csv"
    assert "15 groups of training points" in succeed("ground-truth", "--out", out, *overrides)
    exported, table = pd.read_csv(out), pd.read_csv(folder / "groups.csv")
    removals = json.loads((folder / "removals.json").read_text())
    known = {
        (row.test_index, json.dumps(removals[int(str(row.removal))])): row.actual_change
        for row in table.itertuples()
    }
    assert {(row.test_index, row.rows): row.actual_change for row in exported.itertuples()} == known


def test_the_page_shows_groups_by_size_with_their_strongest_members(
    grouped: tuple[Path, list[str]], browser: Browser
) -> None:
    folder, overrides = grouped
    assert "report.html" in succeed("report", *overrides)
    assert "good  page: report.html shows this table" in succeed("check", folder)
    table = pd.read_csv(folder / "groups.csv")
    removals = json.loads((folder / "removals.json").read_text())
    chosen = table[(table["method"] == "exact") & (table["test_index"] == 14)]
    largest = chosen.sort_values("actual_change").iloc[-1]
    members = removals[int(largest["removal"])]
    own = by_point(folder / "influence" / "exact.csv", "predicted_change")
    strongest = sorted(members, key=lambda row: -abs(own[14, row]))[:8]
    with opened(browser, folder / "report.html") as page:
        expect(page.locator("#count")).to_have_text("15 of 15 groups shown.")
        page.locator("#step").evaluate(
            "step => { step.value = step.max; step.dispatchEvent(new Event('input', {bubbles: true})); }"
        )
        card = page.locator("#card")
        expect(card.locator("h3")).to_have_text(f"Group {int(largest['removal'])}")
        expect(card.locator("dd").first).to_have_text(str(len(members)))
        assert card.locator("figcaption").all_inner_texts() == [f"#{row}" for row in strongest]
        for line in page.locator("#making ~ pre").inner_text().strip().splitlines():
            succeed(*shlex.split(line)[1:])
        page.locator("#least").fill("30")
        expect(page.locator("#count")).to_have_text("10 of 15 groups shown.")
        page.locator("#method").select_option("lissa_auto")
        page.locator("#test").select_option("1")
        expect(page.locator("#count")).to_have_text("10 of 15 groups shown.")
        assert not Axe().run(page).response["violations"]


def test_a_sweep_of_single_points_refuses_groups() -> None:
    result = repro("sweep", "--method", "cg", "data=digits", "removals=random_groups", "model.l2=0.1,0.01")
    assert result.exit_code == 2
    assert "removals=random_groups makes groups" in result.stderr


def test_a_diagnosis_judges_groups_by_the_same_limits(grouped: tuple[Path, list[str]]) -> None:
    folder, overrides = grouped
    table = pd.read_csv(folder / "groups.csv")
    target = int(table["test_index"].iloc[0])
    rows = table[(table["test_index"] == target) & (table["method"] == "exact")]
    result = repro("diagnose", *overrides)
    checks = {one["check"]: one for one in json.loads((folder / "diagnosis.json").read_text())["checks"]}
    own = checks["predictions of exact"]
    r = np.corrcoef(rows["predicted_change"], rows["actual_change"])[0, 1]
    assert own["numbers"]["pearson"] == pytest.approx(r, abs=1e-12)
    assert own["numbers"]["points"] == len(rows)
    assert checks["gradient norms"]["numbers"]["models"] == table["removal"].nunique() + 1
    effect = float(table.drop_duplicates("removal")["actual_change"].abs().median())
    largest = float(table[table["test_index"] == target]["certificate"].max())
    assert checks["signal"]["numbers"]["largest_certificate"] == largest < effect
    # Groups of a tenth do more than the sum of what their members do, which is no fault.
    assert own["numbers"]["slope"] > 1
    assert own["passed"] is None
    assert "--method newton_step takes the Hessian without the group" in own["remedy"]
    assert result.exit_code == 0


def test_groups_that_are_not_there_are_not_diagnosed(tmp_path: Path) -> None:
    result = repro("diagnose", *FAST, "removals=random_groups", f"output_dir={tmp_path}/run")
    assert result.exit_code == 1
    assert "holds no predictions. Run first: repro influence" in " ".join(result.stderr.split())


BAD = {
    "empty": ([[1, 2], []], "list 1 is empty; expected at least one training row"),
    "a row twice": ([[4, 4]], "list 0: a removal names training row 4 twice"),
    "a group twice": ([[4, 5], [7], [5, 4]], "lists 0 and 2 name the same rows"),
    "out of range": ([[4, 300]], "list 0: a removal names training row 300: expected 0 … 299"),
    "everything": ([list(range(300))], "leaves nothing to fit"),
    "no lists": ([3, 8], "expected a list of lists of training rows"),
    "no rows": ([["a"]], "list 0 holds what is no row"),
    "no list": ({"a": 1}, "expected a list of lists of training rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_of_bad_groups_is_named_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    content, said = BAD[name]
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(content))
    run = tmp_path / "run"
    result = repro("run", *FAST, "removals=file", f"removals.path={file}", f"output_dir={run}")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not run.exists()


def test_a_removal_of_a_whole_class_is_refused(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    zeros = np.flatnonzero(load_digits().target[:300] == 0)
    np.save(tmp_path / "groups.npy", zeros[None])
    result = repro("run", *FAST, "removals=file", f"removals.path={tmp_path}/groups.npy", "--method", "exact")
    assert result.exit_code == 2
    assert "leaves no training example of class 0" in result.stderr


@pytest.mark.parametrize("size", ["0", "1", "1.0", "-0.1"])
def test_a_size_of_nothing_or_everything_is_refused(size: str) -> None:
    result = repro("run", *FAST, "removals=random_groups", f"removals.sizes=[{size}]")
    assert result.exit_code == 2
    assert "removals.sizes" in result.stderr


def test_a_size_that_rounds_to_no_row_is_refused() -> None:
    result = repro("run", *FAST, "removals=random_groups", "removals.sizes=[0.001]")
    assert result.exit_code == 2
    assert "removals.sizes=0.001 is 0 of the 300 training rows; expected 1 … 299" in result.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("removals.smallest=0.3", "removals.smallest=0.3 is above removals.largest=0.25"),
        ("removals.smallest=0.0001", "removals.smallest=0.0001 is 0 of the 300 training rows"),
    ],
)
def test_sizes_of_the_study_that_cannot_be_are_refused_before_predictions(
    setting: str, said: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    result = repro("run", "--method", "exact", *FAST, "removals=groups", setting, f"output_dir={run}")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not run.exists()


@pytest.mark.figures
def test_the_study_of_2019_in_miniature(tmp_path: Path) -> None:
    """Both test points have the same groups, which their tails choose together; a third needs no model."""
    small = ["experiment=groups2019", "data=digits", "data.num_train=300", "plot.formats=[png]"]
    small += ["removals.smallest=0.01", "removals.num_sizes=8", "removals.most=40"]
    small += ["test_index=[14,3]", f"output_dir={tmp_path}/run"]
    succeed("run", *small)
    table = pd.read_csv(tmp_path / "run" / "groups.csv")
    by_point = table.groupby("test_index")["removal"].apply(sorted)
    assert by_point[14] == by_point[3] == list(range(40))
    assert json.loads((tmp_path / "run" / "groups.json").read_text())["l2_scaling"] == "sum"
    succeed("ground-truth", "--test-index", "20", "--out", tmp_path / "truth.csv", *small)
    assert len(pd.read_csv(tmp_path / "truth.csv")) == 40


def test_halves_and_random_groups_have_their_sizes_and_follow_the_seed() -> None:
    kept = halves(num_examples=101, count=7, keep=0.5, seed=3)
    assert [len(rows) for rows in kept] == [51] * 7
    assert kept == halves(num_examples=101, count=7, keep=0.5, seed=3)
    assert kept != halves(num_examples=101, count=7, keep=0.5, seed=4)
    drawn = random_groups(num_examples=1000, sizes=[0.01, 0.2], count=3, seed=0)
    assert [len(rows) for rows in drawn] == [10, 10, 10, 200, 200, 200]
    assert all(list(rows) == sorted(set(rows)) for rows in drawn)


def test_groups_of_the_study_come_from_classes_tails_and_clusters() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 4
    features = generator.normal(size=(400, 3)) + 10 * labels[:, None]
    influence = generator.normal(size=400)
    settings = {"smallest": 0.01, "largest": 0.3, "num_sizes": 10, "per_size": 2, "most": 1700, "seed": 0}
    # Residuals that point apart in two halves of each class, which no feature knows of.
    residuals = np.eye(4)[labels] * np.where(np.arange(400) % 8 < 4, 1.0, -1.0)[:, None]
    data = {
        "num_examples": 400, "labels": labels, "features": features, "influences": influence[None],
        "gradient_factors": (features, residuals),
    }  # fmt: skip
    groups = study_groups(**data, **settings)
    assert len(set(groups)) == len(groups)
    assert {len(rows) for rows in groups} <= set(range(4, 121))
    order = np.argsort(influence)
    # A third of the tail groups has up to 12 rows, of the 18 at either end.
    for ends, at_least in ((order[-180:], 20), (order[:180], 20), (order[-18:], 6), (order[:18], 6)):
        assert sum(set(rows) <= set(ends.tolist()) for rows in groups) >= at_least
    of_one_class = [rows for rows in groups if len(set(labels[list(rows)])) == 1]
    assert len(of_one_class) >= 10
    # A cluster of gradients is a half of a class, and rows of large groups are in one by that alone.
    of_one_half = [rows for rows in of_one_class if len(set(residuals[list(rows)].sum(1))) == 1]
    assert any(len(rows) > 25 for rows in of_one_half)
    places = np.argsort(np.argsort(features, axis=0, kind="stable"), axis=0)
    windows = [rows for rows in groups if len(rows) - 1 in np.ptp(places[list(rows)], axis=0)]
    assert len({len(rows) for rows in windows}) == 10
    # No class is ever left without an example, though the clusters are the classes.
    assert all(len(rows) < 100 for rows in of_one_class)
    fewer = study_groups(**data, **settings | {"most": 20})
    assert len(fewer) == 20
    assert set(fewer) <= set(groups)


def test_distances_of_gradients_are_those_of_their_factors_products() -> None:
    """‖xᵢ ⊗ rᵢ − xⱼ ⊗ rⱼ‖² = ‖xᵢ‖²‖rᵢ‖² + ‖xⱼ‖²‖rⱼ‖² − 2(xᵢᵀxⱼ)(rᵢᵀrⱼ), projected or not."""
    generator = np.random.default_rng(0)
    for num_features, tolerance in ((20, 1e-12), (300, 5 * (2 / SKETCHED) ** 0.5)):
        x, residuals = generator.normal(size=(60, num_features)), generator.normal(size=(60, 10))
        found = gradients((x, residuals), seed=1)
        assert found.shape == (60, 200 if num_features == 20 else SKETCHED)
        products = (x @ x.T) * (residuals @ residuals.T)
        norms = np.diag(products)
        expected = norms[:, None] + norms[None] - 2 * products
        squared = ((found[:, None] - found[None]) ** 2).sum(-1)
        apart = ~np.eye(60, dtype=bool)
        np.testing.assert_allclose(squared[apart], expected[apart], rtol=tolerance)
        # The mean of squared distances is kept, so no factor is forgotten.
        assert squared[apart].mean() == pytest.approx(expected[apart].mean(), rel=0.03)


def test_errors_of_sums_come_from_the_repeats_of_the_sums(grouped: tuple[Path, list[str]]) -> None:
    folder, _ = grouped
    table = pd.read_csv(folder / "groups.csv")
    noisy = table[table["method"] == "lissa_auto"]
    errors = noisy["predicted_stderr"].to_numpy()
    assert np.isfinite(errors).all()
    exact = table[table["method"] == "exact"]["predicted_change"].to_numpy()
    # Known from the exact predictions: nearly all within 4 standard errors, and hardly any within a tenth.
    scores = np.abs(noisy["predicted_change"].to_numpy() - exact) / errors
    assert np.mean(scores < 4) > 0.9
    assert np.mean(scores < 0.1) < 0.4
    # The members are correlated: adding their errors up, or their squares, is wrong.
    own = by_point(folder / "influence" / "lissa_auto.csv", "predicted_stderr")
    removals = json.loads((folder / "removals.json").read_text())
    large = noisy[noisy["size"] == 90]
    members = [
        [own[row.test_index, i] for i in removals[int(str(row.removal))]] for row in large.itertuples()
    ]
    by_sum = np.array([sum(found) for found in members])
    assert (large["predicted_stderr"].to_numpy() < by_sum).all()


def test_repeats_of_another_table_are_not_used(tmp_path: Path) -> None:
    from repro.folder.paths import RunFolder
    from repro.records.repeats import read_repeats, write_repeats

    folder, repeats = RunFolder(tmp_path), {3: torch.arange(6.0, dtype=torch.float64).view(2, 3)}
    (tmp_path / "influence").mkdir()
    write_repeats(folder, "lissa", "sum", repeats)
    assert read_repeats(folder, "lissa", "sum")[3].equal(repeats[3])
    assert read_repeats(folder, "lissa", "another") == {}
    write_repeats(folder, "lissa", "sum", {})
    assert read_repeats(folder, "lissa", "sum") == {}


def test_errors_of_a_sum_are_not_made_up() -> None:
    own = pd.DataFrame({"predicted_change": [1.0, 2.0, 4.0], "predicted_stderr": [0.1, 0.2, 0.0]})
    changes, errors = predicted_group_changes(own, [(0, 1), (1,), (2,)])
    assert changes.tolist() == [3.0, 2.0, 4.0]
    assert np.isnan(errors[0])
    assert errors[1:].tolist() == [0.2, 0.0]


def test_agreement_by_size_takes_like_sizes_together(grouped: tuple[Path, list[str]]) -> None:
    folder, _ = grouped
    table = pd.read_csv(folder / "groups.csv")
    found = agreement_by_size(table)
    assert found.groupby(["method", "test_index"])["groups"].sum().tolist() == [15] * 4
    assert found["size"].between(3, 90).all()
    figure = draw_groups(table, {"exact": "Exact"}, "fifteen groups")
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    shown = [artist for axes in panels for artist in axes.collections if artist.get_gid() == "points"]
    assert len(shown) == 4
    sizes = np.asarray(shown[0].get_array())
    assert sorted(sizes.tolist()) == [3] * 5 + [30] * 5 + [90] * 5


@pytest.mark.parametrize("largest", [40, 375, 13_750])
def test_sizes_under_the_curves_do_not_run_into_each_other(largest: int) -> None:
    generator = np.random.default_rng(0)
    sizes = np.linspace(4, largest, 160).round().astype(int)
    change = generator.normal(size=160)
    table = pd.DataFrame(
        {
            "method": "cg", "test_index": 3, "size": sizes, "removal": range(160),
            "predicted_change": change, "actual_change": 1.1 * change, "certificate": 1e-6,
        }
    )  # fmt: skip
    figure = draw_agreement_by_size(table, {})
    figure.draw_without_rendering()
    for axes in figure.axes:
        axis, (low, high) = axes.xaxis, axes.get_xlim()
        ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        shown = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
        boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
        assert len(boxes) >= 2
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes)), [one.get_text() for one in shown]


def test_groups_of_one_size_are_one_point_of_the_curve() -> None:
    sizes = np.repeat([75, 1, 15, 3, 200], [20, 20, 20, 20, 2])
    generator = np.random.default_rng(0)
    actual = generator.normal(size=len(sizes))
    table = pd.DataFrame(
        {
            "method": "cg", "test_index": 0, "size": sizes, "predicted_change": actual / np.sqrt(sizes),
            "actual_change": actual, "certificate": 0.0,
        }
    )  # fmt: skip
    found = agreement_by_size(table)
    assert found["size"].tolist() == [1, 3, 15, 75]
    assert found["groups"].tolist() == [20] * 4
    np.testing.assert_allclose(found["slope"], np.sqrt([1, 3, 15, 75]))


def test_groups_that_keep_the_sum_of_l2_are_other_models_with_other_predictions(
    grouped: tuple[Path, list[str]], tmp_path: Path
) -> None:
    _, overrides = grouped
    run = tmp_path / "run"
    mine = [*overrides[:-1], "--method", "exact", "--method", "lissa_auto", f"output_dir={run}"]
    tables = {}
    for scaling in ("mean", "sum"):
        said = succeed("run", *mine, f"retrain.l2_scaling={scaling}")
        # Models of one L2 are never taken for those of the other.
        assert "16 solved now" in said
        tables[scaling] = pd.read_csv(run / "groups.csv")
        assert json.loads((run / "groups.json").read_text())["l2_scaling"] == scaling
        succeed("check", run)
    mean, kept = tables["mean"], tables["sum"]
    apart = (mean["actual_change"] - kept["actual_change"]).abs()
    assert (apart > 100 * (mean["certificate"] + kept["certificate"])).mean() > 0.9
    # First order has to be right of each: without its own part of L2 neither would be.
    small = (kept["method"] == "exact") & (kept["size"] == 3)
    for own, other in ((mean, kept), (kept, mean)):
        right = (own["actual_change"] - own["predicted_change"])[small].abs()
        wrong = (own["actual_change"] - other["predicted_change"])[small].abs()
        assert right.mean() < 0.7 * wrong.mean()
    assert np.isfinite(kept["predicted_stderr"]).all()
    result = repro("run", *FAST, "retrain.l2_scaling=sum", "removals=all", f"output_dir={tmp_path}/points")
    assert result.exit_code == 2
    assert "retrain.l2_scaling=sum is for groups" in result.stderr


@pytest.mark.figures
def test_groups_of_one_size_have_no_colours_no_curve_and_no_range(tmp_path: Path, browser: Browser) -> None:
    folder = tmp_path / "run"
    overrides = [*FAST, "removals=halves", "removals.count=8", f"output_dir={folder}"]
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "groups_by_size.png").write_bytes(b"of another selection")
    said = succeed("run", "--method", "newton_step", *overrides)
    assert "8 models without a group each and the null control" in " ".join(said.split())
    assert [path.name for path in (folder / "plots").glob("groups*")] == ["groups.png"]
    succeed("report", *overrides)
    with opened(browser, folder / "report.html") as page:
        expect(page.locator("header")).to_contain_text("8 groups of 150 rows, removals=halves")
        assert page.locator("#sizes, a[href='#sizes'], #figure .colorbar").count() == 0
        assert page.locator("#figure .point").count() == 8
        assert not Axe().run(page).response["violations"]
    said = succeed("check", folder)
    assert "groups: models: 9 models" in said
    assert "leave-one-out" not in said
    table = pd.read_csv(folder / "groups.csv")
    figure = draw_groups(table, {"newton_step": "Newton step"}, "eight groups")
    assert len(figure.axes) == 1
    note = figure.get_suptitle().replace("\n", " ")
    assert note == "eight groups. Vertical bars of predicted changes: ± their certificate"
    without = draw_groups(table.drop(columns="predicted_certificate"), {}, "eight groups")
    assert without.get_suptitle() == "eight groups"
