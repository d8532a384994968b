"""`repro compare`: errors are true distances to the exact solution, and the table says what is cheapest."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from influence.cg import CG
from influence.lissa import LiSSA
from plots.cost import draw_cost
from repro.compared_settings import read_settings
from repro.configuration.compose import compose
from repro.stages.compare import COLUMNS, family
from tests.command_line import FAST, repro, succeed

pytestmark = pytest.mark.figures

SETTINGS = (
    'compare.settings=[grad_dot,"lissa depth=200","cg tolerance=1e-1","cg tolerance=1e-6",'
    '"cg preconditioner=none",exact]'
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A comparison that trained for itself, and what it said."""
    folder = tmp_path_factory.mktemp("compared") / "run"
    return folder, succeed("compare", *FAST, SETTINGS, "plot.formats=[png,svg]", f"output_dir={folder}")


def test_errors_fall_with_the_tolerance_down_to_exact(compared: tuple[Path, str]) -> None:
    table = pd.read_csv(compared[0] / "compare.csv", keep_default_na=False)
    assert tuple(table.columns) == COLUMNS
    error = dict(
        zip(table["method"] + " " + table["settings"], table["s_test_error"].astype(float), strict=True)
    )
    assert error["exact "] == 0
    assert error["cg preconditioner=none"] < 1e-7
    # ‖s − H⁻¹v‖/‖H⁻¹v‖ ≤ condition number · ‖v − Hs‖/‖v‖, and the condition number here is 75.
    assert 1e-9 < error["cg tolerance=1e-6"] < 75e-6
    assert error["cg tolerance=1e-6"] < error["cg tolerance=1e-1"] < 1
    assert error["grad_dot "] > 0.5
    slope = dict(zip(table["method"] + " " + table["settings"], table["slope"].astype(float), strict=True))
    assert slope["cg tolerance=1e-6"] == pytest.approx(1, abs=1e-4)
    assert abs(slope["grad_dot "] - 1) > 0.2


def test_the_error_is_that_of_the_table_of_influence(compared: tuple[Path, str]) -> None:
    """r, slope and largest error are those between the two methods' own influence tables."""
    folder, _ = compared
    overrides = [*FAST, f"output_dir={folder}"]
    succeed("influence", "--method", "exact", *overrides)
    succeed("influence", "--method", "lissa", *overrides, "influence.depth=200")
    exact, lissa = (
        pd.read_csv(folder / "influence" / f"{name}.csv")["predicted_change"] for name in ("exact", "lissa")
    )
    row = pd.read_csv(folder / "compare.csv").query("method == 'lissa'").iloc[0]
    assert row["pearson"] == pytest.approx(np.corrcoef(lissa, exact)[0, 1], abs=1e-12)
    assert row["slope"] == pytest.approx(np.polyfit(lissa, exact, 1)[0], rel=1e-9)
    assert row["max_abs_error"] == pytest.approx((lissa - exact).abs().max(), rel=1e-9)


def test_it_says_what_is_cheapest_and_draws(compared: tuple[Path, str]) -> None:
    folder, said = compared
    cheapest = pd.read_csv(folder / "compare.csv").query("s_test_error <= 0.01").nsmallest(1, "seconds")
    assert f"of exact: {cheapest['method'].item()}" in said
    assert (folder / "plots" / "compare.png").stat().st_size > 10_000
    assert (folder / "plots" / "compare.svg").read_bytes().startswith(b"<?xml")


def test_settings_are_held_against_the_certified_changes_of_groups(tmp_path: Path) -> None:
    """The errors are those of groups.csv; methods that look at groups themselves stand beside the others."""
    groups = ["removals=random_groups", "removals.sizes=[0.02,0.2]", "removals.count=4", "test_index=14"]
    mine = [*FAST, *groups, "retrain.l2_scaling=sum", f"output_dir={tmp_path}/run"]
    settings = 'compare.settings=[exact,grad_dot,rif,newton_step,"newton_step correction=none"]'
    early = repro("compare", *mine, settings)
    assert early.exit_code == 1
    assert "models are missing" in " ".join(early.stderr.split())
    succeed("run", "--method", "exact", "--method", "rif", "--method", "newton_step", *mine)
    said = succeed("compare", *mine, settings)
    assert "predicted changes of the groups against actual ones" in said
    found = pd.read_csv(tmp_path / "run" / "compare.csv", keep_default_na=False)
    errors = found.set_index(found["method"] + found["settings"])["groups_max_abs_error"].astype(float)
    table = pd.read_csv(tmp_path / "run" / "groups.csv")
    for method, rows in table.groupby("method"):
        largest = (rows["predicted_change"] - rows["actual_change"]).abs().max()
        assert errors[str(method)] == pytest.approx(largest, rel=1e-6)
    assert errors["newton_step"] < errors["newton_stepcorrection=none"] < errors["exact"]


def test_a_method_that_fails_is_a_row_and_not_the_end(tmp_path: Path) -> None:
    said = succeed(
        "compare", *FAST, 'compare.settings=["lissa scale=0.5","cg max_iterations=2",exact]',
        f"output_dir={tmp_path}/run",
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "run" / "compare.csv").set_index("method")
    assert table["status"].to_dict() == {"lissa": "refused", "cg": "not_converged", "exact": "converged"}
    assert table.loc[["lissa", "cg"], "s_test_error"].isna().all()
    assert "refused" in said


def test_command_line_settings_reach_every_method_that_has_them() -> None:
    entries = read_settings(compose(["data=digits", SETTINGS, "influence.damping=0.5"]))
    assert [getattr(entry.solver, "damping", None) for entry in entries] == [None, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert entries[2].solver == CG(damping=0.5, tolerance=0.1)
    assert entries[1].solver == LiSSA(damping=0.5, depth=200)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("[lisa]", "lissa"),
        ('["cg toleranc=1"]', "tolerance"),
        ('["lissa depth=0"]', "influence.depth"),
        ('["cg damping=0.1","exact damping=0.2"]', "one damping for all"),
        ('["cg top_k=3"]', "top_k"),
        ("[]", "compare.settings"),
        ('[" "]', "compare.settings"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_any_work(
    tmp_path: Path, settings: str, named: str
) -> None:
    result = repro("compare", *FAST, f"compare.settings={settings}", f"output_dir={tmp_path}/run")
    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_singular_hessian_leaves_nothing_to_compare_with(tmp_path: Path) -> None:
    overrides = [*FAST, "model.l2=0", "fit=sgd", "fit.steps=20", f"output_dir={tmp_path}/run"]
    result = repro("compare", *overrides, "compare.settings=[cg]")
    assert result.exit_code == 1
    assert "no exact solution" in result.stderr
    succeed("compare", *overrides, "compare.settings=[cg]", "influence.damping=0.1")


def test_a_line_of_the_figure_is_a_method_and_what_is_not_a_number() -> None:
    assert family("cg", "preconditioner=kronecker tolerance=1e-2") == "cg preconditioner=kronecker"
    assert family("lissa", "") == "lissa"
    table = pd.DataFrame(
        {
            "family": ["a", "a", "b"],
            "seconds": [2.0, 1.0, 3.0],
            "error": [0.0, 0.1, np.nan],
        }
    )
    figure = draw_cost(table, {"error": "Error"}, good={"error": 0.01}, hollow=["b"])
    first = figure.axes[0].lines[0]
    # Ordered by error, so that noise in the seconds does not tangle the line; 0 stands at the bottom.
    assert np.asarray(first.get_xdata(), dtype=np.float64).tolist() == [2.0, 1.0]
    assert np.asarray(first.get_ydata())[0] > 0
    assert len(np.asarray(figure.axes[0].lines[1].get_xdata())) == 0
    assert [line.get_linestyle() for line in figure.axes[0].lines[:2]] == ["-", "--"]


def test_the_key_of_long_names_lies_within_the_figure() -> None:
    names = [f"package {place} with a method of a long name" for place in range(14)]
    table = pd.DataFrame({"family": names, "seconds": np.arange(1.0, 15), "error": np.logspace(-6, 0, 14)})
    figure = draw_cost(table, {"error": "Error"})
    figure.draw_without_rendering()
    key, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= key.x0 < key.x1 <= whole.x1
    assert whole.y0 <= key.y0 < key.y1 <= whole.y1
