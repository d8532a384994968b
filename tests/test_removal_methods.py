"""Methods that predict removals as wholes, from the command line: what they write, certify and refuse."""

import json
from io import StringIO
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import norm, t

from repro import Experiment
from repro.configuration.compose import compose
from repro.diagnosing.panels import computed_panel, stored_panels
from repro.diagnosing.subject import read_subject
from repro.folder.manifest import write_text_result
from repro.folder.paths import RunFolder
from repro.group_agreement import join_groups
from repro.records.influence import as_read_back, read_record
from repro.records.removals import name_of
from repro.removal_predictions import lacks_removals
from repro.session import Session
from tests.command_line import FAST, repro, succeed

METHODS = ("--method", "newton_step", "--method", "rif", "--method", "exact")
GROUPS = ("removals=random_groups", "removals.sizes=[0.01,0.1]", "removals.count=4")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A run of single points, then one of groups in the same folder, with what the latter said."""
    folder = tmp_path_factory.mktemp("steps") / "run"
    overrides = [*FAST, "test_index=[14,3]", f"output_dir={folder}"]
    succeed("run", *METHODS, *overrides)
    return folder, overrides, succeed("run", *METHODS, *GROUPS, *overrides)


def test_newton_steps_are_certified_in_every_table(run: tuple[Path, list[str], str]) -> None:
    folder, overrides, said = run
    assert "and so corrected" not in repro("plot", *GROUPS, *overrides).stderr
    points, groups = pd.read_csv(folder / "leave_one_out.csv"), pd.read_csv(folder / "groups.csv")
    assert "8 predictions certified without retraining: off by at most" in said
    for table in (points, groups):
        stepped = table["method"] == "newton_step"
        assert np.isfinite(table["predicted_certificate"]).tolist() == stepped.tolist()
        own = table[stepped]
        error = (own["predicted_change"] - own["actual_change"]).abs()
        assert (error <= own["predicted_certificate"] + own["certificate"]).all()
        exact = table[table["method"] == "exact"]
        assert error.max() < 0.2 * (exact["predicted_change"] - exact["actual_change"]).abs().max()
    check = succeed("check", folder)
    assert "good  predicted certificates: 80 predictions" in check
    assert "good  groups: predicted certificates: 16 predictions" in check


def test_what_is_not_certified_is_not_corrected_and_that_is_said(tmp_path: Path) -> None:
    """Points that the method was not asked about: with the command that certifies them too."""
    folder = tmp_path / "run"
    succeed("run", "--method", "newton_step", *FAST, "top_k=5", f"output_dir={folder}")
    succeed("retrain", folder, "top_k=8")
    plotted = repro("plot", folder, "top_k=8")
    assert plotted.exit_code == 0, plotted.output
    said = " ".join(plotted.stderr.split())
    assert "newton_step has certified, and so corrected, 5 of the 8 points" in said
    again = said.split("Run: repro ")[1].split(" && ")[0].split("warning")[0].split()
    succeed(*again)
    assert "and so corrected" not in repro("plot", folder, "top_k=8").stderr


def test_diagnose_judges_what_the_page_shows(tmp_path: Path) -> None:
    """Corrected predictions, also of a setting that is computed for the diagnosis alone."""
    folder = tmp_path / "run"
    succeed("run", "--method", "newton_step", *FAST, f"output_dir={folder}")
    table = pd.read_csv(folder / "leave_one_out.csv")
    slope = np.polyfit(table["predicted_change"], table["actual_change"], 1)[0]
    config = compose([str(folder), "influence=newton_step"])
    subject = read_subject(Session(config))
    (stored,) = stored_panels(subject)
    computed, failure = computed_panel(subject, lambda done, total: None)
    assert failure is None
    for panel in (stored, computed):
        found = panel.rows.set_index("train_index")["predicted_change"].loc[table["train_index"]]
        np.testing.assert_allclose(found, table["predicted_change"], rtol=1e-12)
    assert f"{slope:.3f}" in repro("diagnose", folder).stdout


def test_a_groups_prediction_is_no_sum_of_members(run: tuple[Path, list[str], str]) -> None:
    folder, _, _ = run
    table, removals = pd.read_csv(folder / "groups.csv"), json.loads((folder / "removals.json").read_text())
    own, rescaled = (
        changes_by_point(folder / "influence" / f"{method}.csv") for method in ("newton_step", "rif")
    )
    for row in table[table["size"] == 30].itertuples():
        members = [(row.test_index, member) for member in removals[int(str(row.removal))]]
        predicted = float(str(row.predicted_change))
        if row.method == "newton_step":
            summed = sum(own[one] for one in members)
            assert abs(summed - predicted) > 1e-3 * abs(summed)
        if row.method == "rif":
            assert predicted == pytest.approx(sum(rescaled[one] for one in members), rel=1e-9)


def test_a_correction_is_of_what_is_certified_and_check_follows_it(tmp_path: Path) -> None:
    errors = []
    for correction in ("none", "adjoint"):
        folder = tmp_path / correction
        asked = [*FAST, f"influence.correction={correction}", f"output_dir={folder}"]
        for kind in ((), GROUPS):
            succeed("run", "--method", "newton_step", *kind, *asked)
        assert "BAD" not in succeed("check", folder)
        tables = [pd.read_csv(folder / f"{name}.csv") for name in ("leave_one_out", "groups")]
        for table in tables:
            error = (table["predicted_change"] - table["actual_change"]).abs()
            assert (error <= table["predicted_certificate"] + table["certificate"]).all()
            errors.append(float(error.max()))
    assert errors[2] < 0.4 * errors[0]
    assert errors[3] < 0.4 * errors[1]
    # A prediction that is not the corrected one is found.
    uncorrected = changes_by_point(folder / "influence" / "newton_step.csv")
    keys = zip(tables[0]["test_index"], tables[0]["train_index"], strict=True)
    wrong = tables[0].assign(predicted_change=[uncorrected[key] for key in keys])
    write_text_result(RunFolder(folder), folder / "leave_one_out.csv", wrong.to_csv(index=False))
    check = repro("check", folder)
    assert check.exit_code == 1
    assert "the table's predictions are not those of influence/newton_step.csv" in check.stdout


def changes_by_point(path: Path) -> dict[Any, float]:
    """What a method's table predicts, by test point and training point."""
    table = pd.read_csv(path)
    return table.set_index(["test_index", "train_index"])["predicted_change"].to_dict()


def test_a_larger_error_than_both_certificates_allow_is_found(
    run: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    forged = RunFolder(copytree(run[0], tmp_path / "forged"))
    table = pd.read_csv(forged.table)
    first = table.index[table["method"] == "newton_step"][0]
    table.loc[first, "predicted_certificate"] = 0.0
    write_text_result(forged, forged.table, table.to_csv(index=False))
    result = repro("check", forged.path)
    assert result.exit_code == 1
    assert "BAD   predicted certificates" in result.output


def lacking(folder: Path, *overrides: str) -> bool:
    """Whether a run under these overrides would run newton_step again, for the test points of the fixture."""
    session = Session(compose([*FAST, *overrides, "test_index=[14,3]", f"output_dir={folder}"]))
    record = read_record(session.folder, "newton_step")
    assert record is not None
    return lacks_removals(session, record, [14, 3])


def test_what_is_there_is_not_done_again_and_what_is_not_is(run: tuple[Path, list[str], str]) -> None:
    folder, _, said = run
    # Groups were asked for after points: only what sums its members had nothing to do.
    assert said.count("already predicted") == 1
    # What was certified before is kept beside what came to it.
    assert not lacking(folder)
    assert not lacking(folder, *GROUPS)
    assert lacking(folder, *GROUPS, "retrain.l2_scaling=sum")
    assert lacking(folder, *GROUPS, "removals.seed=1")
    assert lacking(folder, "removals=random", "removals.count=7")
    assert lacking(folder, "top_k=41")


def test_groups_that_a_method_has_not_predicted_are_left_out_with_the_command(
    run: tuple[Path, list[str], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, overrides, _ = run
    copied = copytree(folder, tmp_path / "run")
    groups = Experiment(
        *overrides[:-1],
        "removals=random_groups",
        "removals.sizes=[0.05]",
        "removals.count=3",
        output_dir=copied,
    )
    groups.retrain()
    with groups.session.opened():
        table = join_groups(groups.session).table
    assert set(table["method"]) == {"exact"}
    said = "newton_step has not predicted these groups. Run: repro influence --method newton_step"
    assert any(said in record.getMessage() for record in caplog.records)
    # Of single points only the certificate is lacking.
    points = Experiment(*overrides[:-1], "removals=random", "removals.count=7", output_dir=copied)
    points.retrain()
    table = points.agreement().table
    assert set(table["method"]) == {"newton_step", "rif", "exact"}
    known = set(pd.read_csv(folder / "leave_one_out.csv").query("method == 'newton_step'")["train_index"])
    stepped = table[table["method"] == "newton_step"]
    assert np.isfinite(stepped["predicted_certificate"]).sum() <= stepped["train_index"].isin(known).sum()


def test_groups_that_keep_the_sum_of_l2_have_steps_of_their_own(
    run: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    folder, overrides, _ = run
    copied = copytree(folder, tmp_path / "run")
    kept_l2 = Experiment(*overrides[:-1], *GROUPS, "retrain.l2_scaling=sum", output_dir=copied)
    kept_l2.predict("newton_step")
    kept_l2.predict("rif")
    kept_l2.retrain()
    with kept_l2.session.opened():
        kept = join_groups(kept_l2.session).table
    mean = pd.read_csv(folder / "groups.csv")
    chosen = mean["method"] == "newton_step"
    assert kept["method"].tolist() == mean["method"].tolist()
    assert (mean["predicted_change"] != kept["predicted_change"])[chosen].all()
    error = (kept["predicted_change"] - kept["actual_change"]).abs()
    assert (error <= kept["predicted_certificate"] + kept["certificate"])[chosen].all()
    assert error[chosen].max() < 0.5 * error[kept["method"] == "exact"].max()
    # The sum of L2 changes each prediction by more than the step errs.
    apart = (kept["predicted_change"] - mean["predicted_change"]).abs()[chosen]
    assert (apart > error[chosen]).mean() > 0.8


def test_the_name_of_a_group_is_of_its_rows() -> None:
    assert name_of((17,)) == "17"
    assert name_of((1, 2)) != name_of((1, 3)) != name_of((1, 2, 3))
    assert len(name_of(tuple(range(1000)))) == 32


def test_a_method_that_finds_no_factor_leaves_a_record_that_says_so(tmp_path: Path) -> None:
    new = RunFolder(tmp_path / "run")
    new.path.mkdir()
    mine = [*FAST, "influence.max_iterations=1", *GROUPS, f"output_dir={new.path}"]
    succeed("train", *mine[:3], mine[-1])
    result = repro("influence", "--method", "newton_step", *mine)
    assert result.exit_code == 1
    assert "no solution after 1 iterations" in " ".join(result.stderr.split())
    assert json.loads(new.influence_record("newton_step").read_text())["table_checksum"] is None
    assert not new.influence_table("newton_step").exists()
    assert not new.influence_removals("newton_step").exists()


def test_without_l2_there_is_no_step(tmp_path: Path) -> None:
    mine = [*FAST, "model.l2=0", "fit.tolerance=1e-2", f"output_dir={tmp_path}/run"]
    succeed("train", *mine)
    result = repro("influence", "--method", "newton_step", *mine)
    assert result.exit_code == 2
    assert "Set model.l2 > 0" in " ".join(result.stderr.split())
    assert not (tmp_path / "run" / "influence" / "newton_step.json").exists()


def test_compare_says_that_there_is_no_s_test(tmp_path: Path) -> None:
    result = repro("compare", *FAST, "compare.settings=[newton_step]", f"output_dir={tmp_path}/run")
    assert result.exit_code == 2
    assert "newton_step has no s_test" in " ".join(result.stderr.split())


def test_a_diagnosis_computes_the_method_that_is_not_there(tmp_path: Path) -> None:
    result = repro(
        "diagnose", "--method", "newton_step", *FAST, "test_index=14", f"output_dir={tmp_path}/run"
    )
    assert "predictions of newton_step" in result.stdout, result.output


def test_standard_errors_of_groups_are_those_of_the_repeats_sums(tmp_path: Path) -> None:
    """Recomputed from the repeats of s_test by plain loops over the members."""
    folder = tmp_path / "run"
    overrides = [*FAST, *GROUPS, "test_index=14", "retrain.l2_scaling=sum", f"output_dir={folder}"]
    experiment = Experiment(*overrides)
    experiment.train()
    experiment.predict("lissa", repeats=5, depth=1500)
    experiment.retrain()
    with experiment.session.opened():
        joined = join_groups(experiment.session)
    table, removals = joined.table, joined.removals
    repeats = load_file(folder / "influence" / "lissa.safetensors")["14"]
    risk, theta = experiment.session.risk, experiment.session.model().theta
    x, y = (getattr(risk, name) for name in ("x", "y"))
    factor = float(t.ppf(norm.cdf(2.0), 4)) / 2 / 5**0.5
    for row in table.itertuples():
        members = removals[int(str(row.removal))]
        sums = []
        for s in repeats:
            gradients = risk.loss_gradient(theta, x[list(members)], y[list(members)])
            sums.append(float((gradients @ s).sum()) / risk.num_examples)
        expected = factor * float(torch.tensor(sums, dtype=torch.float64).std())
        assert float(str(row.predicted_stderr)) == pytest.approx(expected, rel=1e-9)
        assert float(str(row.predicted_change)) == pytest.approx(float(np.mean(sums)), rel=1e-9)


def test_removals_are_chosen_by_the_numbers_that_later_stages_read() -> None:
    values = np.random.default_rng(0).standard_normal(2000) * 10.0 ** np.arange(-1000, 1000).clip(-200, 200)
    once = as_read_back(values)
    np.testing.assert_allclose(once, values, rtol=1e-15)
    table = pd.DataFrame({"influence": values})
    assert pd.read_csv(StringIO(table.to_csv()))["influence"].tolist() == once.tolist()
