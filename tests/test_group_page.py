"""The page on groups says what the page on points says: verdict, scores, machine; and what else is there."""

import html
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, expect

from diagnosis.figure import Method, judge_figure
from diagnosis.predictions import ONE_STEP
from diagnosis.truth import Retrained
from repro.folder.manifest import write_json_result
from repro.folder.paths import RunFolder
from tests.browser import opened
from tests.command_line import FAST, repro, succeed

METHODS = ("exact", "newton_step", "grad_dot")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of models of halves, with its scores."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    methods = [word for name in METHODS for word in ("--method", name)]
    succeed("lds", *methods, *FAST, "removals.count=12", "test_index=[14,3]", f"output_dir={folder}")
    return folder


def text_of(folder: Path) -> str:
    """What the page says, without its scripts, styles and tags, on one line."""
    page = (folder / "report.html").read_text()
    page = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_page_on_groups_says_all_that_the_page_on_points_says(scored: Path) -> None:
    succeed("report", scored)
    said = text_of(scored)
    commit = json.loads((scored / "provenance.json").read_text())["git_commit"] or "installed from a package"
    for words in (
        "Verdict, test point 14", "Verdict, test point 3",
        "The truth: every actual change is known to within",
        "all 13 retrained models reached their tolerance",
        "retraining with nothing removed changes the loss by",
        "a baseline, there for comparison", "What these numbers mean",
        "Commit " + commit, "Machine ", " threads, ", "Versions ", "python 3",
        "newton_step certifies its predictions itself, without retraining",
        "24 of 24 actual changes are within",
        "12 models of groups and the null control, the largest gradient norm",
        "influence, newton_step, test point 3",
        "Configuration data:", "SHA-256 of the results", "groups.csv",
    ):  # fmt: skip
        assert words in said, words
    assert "no record" not in said


def test_the_card_of_a_group_has_the_certificate_of_its_prediction(scored: Path, browser: Browser) -> None:
    succeed("report", scored)
    table = pd.read_csv(scored / "groups.csv")
    stepped = table[(table["method"] == "newton_step") & (table["test_index"] == 14)]
    first = stepped.sort_values("actual_change").iloc[0]
    with opened(browser, scored / "report.html") as page:
        page.locator("#step").fill("1")
        page.locator("#step").fill("0")
        expect(page.locator("#card h3")).to_have_text(f"Group {first['removal']}")
        terms = page.locator("#card dt").all_inner_texts()
        assert terms.count("± its own certificate") == 1
        shown = page.locator("#card dd").nth(terms.index("± its own certificate")).inner_text()
    assert terms[terms.index("± its own certificate") - 1] == "newton_step"
    assert float(shown.replace("−", "-")) == pytest.approx(first["predicted_certificate"], rel=0.05)


def test_the_page_has_the_scores_of_lds_json_if_they_are_of_its_table(scored: Path) -> None:
    succeed("report", scored)
    assert "Linear datamodeling score" in text_of(scored)
    score = re.search(r"newton_step 14 ([\d.]+) ([\d.]+) ([\d.]+)", text_of(scored))
    assert score is not None
    run = RunFolder(scored)
    before = run.datamodeling.read_text()
    known = json.loads(before)
    written = known["methods"]["newton_step"]["test_points"]["14"]
    assert [float(value) for value in score.groups()] == pytest.approx(
        [written["value"], written["lowest"], written["highest"]], abs=5e-5
    )
    written["value"] += 0.01
    write_json_result(run, run.datamodeling, known)
    result = repro("report", scored)
    assert result.exit_code == 0, result.output
    assert "lds.json does not follow from groups.csv" in " ".join(result.stderr.split())
    assert "`repro lds`" in result.stderr
    assert "Linear datamodeling score" not in text_of(scored)
    write_json_result(run, run.datamodeling, json.loads(before))


@pytest.mark.slow
def test_each_page_names_the_command_that_shows_the_other(scored: Path) -> None:
    folder = str(scored)
    succeed("run", folder, "--method", "exact", "removals=influential", "top_k=8")
    succeed("report", folder)
    for shown, other in (("leave-one-out", "groups"), ("group", "single points")):
        said = text_of(scored)
        assert shown in said[:60].lower()
        found = re.search(
            rf"This folder also has {other} \(\w+\.csv\), which this page does not show: (repro .*?) makes",
            said,
        )
        assert found is not None, said[:600]
        succeed(*shlex.split(found[1])[1:])
    assert "leave-one-out" in text_of(scored)[:60].lower()


def test_what_first_order_leaves_out_of_a_group_is_no_fault_and_a_wrong_sign_is() -> None:
    rng = np.random.default_rng(0)
    sizes = np.repeat([10, 50, 100, 200], 10)
    predicted = rng.normal(size=40) * sizes
    actual = predicted * (1 + sizes / 100)
    table = pd.DataFrame(
        {"removal": np.arange(40), "size": sizes, "actual_change": actual, "certificate": 1e-9}
    )
    parts = {
        "sum": predicted,
        "step": actual * 1.001,
        "rough_step": actual + 0.03 * np.abs(actual).max(),
        "turned": -predicted,
        "wrong_step": predicted,
        "scaled": predicted * 10,
    }
    rows = pd.concat([table.assign(method=name, predicted_change=values) for name, values in parts.items()])
    retrained = Retrained(null_control=0.0, null_certificate=1e-9, models=41, missed=0)
    wholes = {"step", "rough_step", "wrong_step"}
    found = judge_figure(rows, retrained, [Method(name=name) for name in parts], wholes)
    by_name = {method.method: method for method in found.methods}
    assert by_name["sum"].outcome == ONE_STEP
    assert by_name["sum"].passed is None
    assert all(finding.passed is not False for finding in by_name["sum"].findings)
    assert by_name["step"].passed is True
    assert by_name["rough_step"].outcome == ONE_STEP
    assert [by_name[name].passed for name in ("turned", "wrong_step", "scaled")] == [False] * 3
    assert ONE_STEP.removeprefix("gets ") in found.summary
    only = judge_figure(rows[rows["method"] == "sum"], retrained, [Method(name="sum")], set())
    assert only.passed is None
