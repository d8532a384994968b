"""`repro score`: what it says, writes and refuses; and the page that leads a newcomer through it."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from repro import influence as predicted_changes
from repro import leave_out, score
from repro.errors import UsageError
from repro.experiment import Experiment
from repro.folder.manifest import write_text_result
from repro.folder.paths import RunFolder
from repro.functions import fit, softmax_regression
from repro.page.judged import judged_scores
from tests.command_line import PROJECT, repro, succeed
from tests.forged import write_pickle
from tests.printed_lines import blocks, printed_lines

TARGET = 3


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run, which may be written into."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def clean(run: Path) -> np.ndarray:
    """What CG predicts for every training point."""
    return pd.read_csv(run / "influence" / "cg.csv")["predicted_change"].to_numpy(dtype=np.float64)


def said(*arguments: str | Path) -> dict[str, object]:
    """The object of the last file."""
    lines = map(json.loads, succeed("score", *arguments, "--log-json").splitlines())
    found: list[dict[str, object]] = [line for line in lines if line["event"] == "scored"]
    return found[-1]


@pytest.mark.figures
def test_scores_are_judged_and_the_figures_written(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", clean(run))
    np.save(tmp_path / "bad.npy", -300 * clean(run))
    found = said(tmp_path / "good.npy", tmp_path / "bad.npy", "--against", run)
    assert found["faults"] == ["sign", "factor_n"]
    content = json.loads((run / "score.json").read_text())
    assert content["scores"]["good"]["faults"] == []
    summary = json.loads((run / "summary.json").read_text())["methods"]["cg"]
    assert content["scores"]["good"]["pearson"]["value"] == pytest.approx(summary["pearson"], rel=1e-10)
    assert content["scores"]["bad"]["mended"]["slope"]["value"] == pytest.approx(summary["slope"], rel=1e-6)
    assert (run / "plots" / "score.png").stat().st_size > 10_000
    assert "so mended, r " in succeed("score", tmp_path / "bad.npy", "--against", run)


def test_scores_of_several_commands_stand_beside_each_other(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", clean(run))
    np.save(tmp_path / "bad.npy", -300 * clean(run))
    succeed("score", tmp_path / "good.npy", "--against", run)
    later = succeed("score", tmp_path / "bad.npy", "--against", run)
    assert "score.json and score.csv keep the scores of before: good" in later
    content, table = json.loads((run / "score.json").read_text()), pd.read_csv(run / "score.csv")
    assert [list(content["scores"]), table["scores"].unique().tolist()] == [["good", "bad"]] * 2
    joined = Experiment(str(run)).agreement()
    assert [one.name for one in judged_scores(RunFolder(run), joined)] == ["good", "bad"]
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "good.npy", -clean(run))
    again = repro("score", tmp_path / "other" / "good.npy", "--against", run)
    assert f"good of {tmp_path}/good.npy was judged before" in again.stderr
    after = json.loads((run / "score.json").read_text())["scores"]
    assert after == {"good": after["good"], "bad": content["scores"]["bad"]}
    assert after["good"]["faults"] == ["sign"]


def test_scores_by_other_actual_changes_do_not_stay(run: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    succeed("ground-truth", run, "--out", truth)
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", clean(run))
    succeed("score", tmp_path / "one.npy", "--against", truth)
    table = pd.read_csv(truth)
    table.assign(actual_change=2 * table["actual_change"]).to_csv(truth, index=False)
    later = repro("score", tmp_path / "two.npy", "--against", truth)
    assert "was of other actual changes" in later.stderr
    assert list(json.loads((tmp_path / "score.json").read_text())["scores"]) == ["two"]


def test_scores_by_another_order_of_training_on_do_not_stay(run: Path, tmp_path: Path) -> None:
    """Nothing bounds such changes, and the same ones are the same up to rounding."""
    truth = tmp_path / "truth.csv"
    succeed("ground-truth", run, "--out", truth)
    for name in ("one", "two", "three"):
        np.save(tmp_path / f"{name}.npy", clean(run))
    table = pd.read_csv(truth).assign(certificate=np.inf)
    table.to_csv(truth, index=False)
    succeed("score", tmp_path / "one.npy", "--against", truth)
    rounded = table["actual_change"] * (1 + 1e-13)
    table.assign(actual_change=rounded).to_csv(truth, index=False)
    succeed("score", tmp_path / "two.npy", "--against", truth)
    assert list(json.loads((tmp_path / "score.json").read_text())["scores"]) == ["one", "two"]
    table.assign(actual_change=1.01 * table["actual_change"]).to_csv(truth, index=False)
    later = repro("score", tmp_path / "three.npy", "--against", truth)
    assert "was of other actual changes" in later.stderr
    assert list(json.loads((tmp_path / "score.json").read_text())["scores"]) == ["three"]


@pytest.mark.parametrize("entry", ["3", "[]", "null", "{}", pytest.param("[" * 100_000, id="nested")])
def test_a_record_whose_entry_is_no_object_begins_anew(run: Path, tmp_path: Path, entry: str) -> None:
    np.save(tmp_path / "good.npy", clean(run))
    succeed("score", tmp_path / "good.npy", "--against", run)
    content = json.loads((run / "score.json").read_text())
    write_text_result(RunFolder(run), run / "score.json", f'{{"scores": {{"good": {entry}}}}}')
    again = repro("score", tmp_path / "good.npy", "--against", run)
    assert again.exit_code == 0, again.output
    assert "score.json is not as this tool writes it, so that it begins anew" in again.stderr
    assert json.loads((run / "score.json").read_text())["scores"]["good"] == content["scores"]["good"]


def test_few_points_are_said(run: Path, tmp_path: Path) -> None:
    """A turned sign is named by what few points prove, and nothing is called right that they cannot."""
    succeed("ground-truth", run, "--out", tmp_path / "truth.csv")
    table = pd.read_csv(tmp_path / "truth.csv")
    assert len(table) >= 12
    np.save(tmp_path / "sign.npy", -clean(run))
    table.head(12).to_csv(tmp_path / "twelve.csv", index=False)
    table.head(5).to_csv(tmp_path / "five.csv", index=False)
    shown = succeed("score", tmp_path / "sign.npy", "--against", tmp_path / "twelve.csv")
    assert "sign: sign: the sign is turned" in shown
    before, after = re.search(r"slope (\S+) → (\S+)", shown).groups()  # type: ignore[union-attr]
    assert before == f"−{after}"
    assert before in shown.split("sign: sign")[0]
    shown = succeed("score", tmp_path / "sign.npy", "--against", tmp_path / "five.csv")
    assert "sign: too few points (5) to name a fault" in shown
    assert "nothing is wrong" not in shown


def test_a_truth_that_nobody_named_is_said_to_be_the_default(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "mine.npy", clean(run))
    monkeypatch.chdir(tmp_path)
    refused = repro("score", "mine.npy")
    assert refused.exit_code == 2
    assert "no truth is named" in refused.stderr
    assert "the run folder of the default configuration" in refused.stderr
    assert "--against FOLDER" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_l2_is_told_by_the_model_in_the_run_folder(run: Path, tmp_path: Path) -> None:
    """λθ̂ in the test gradient, and λθ̂ left out of the training gradient, as plain formulas have them."""
    import torch

    session = Experiment(str(run)).session
    risk, theta = session.risk, session.model().theta
    hessian = risk.curvature(theta).matrix()
    gradient = risk.loss_gradient(theta, *session.test_examples([TARGET]))[0]
    both = torch.linalg.solve(hessian, torch.stack([gradient, gradient + risk.l2 * theta], dim=1))
    with_l2 = risk.per_example_gradient_dots(theta, both.T.contiguous()) / risk.num_examples
    without = with_l2 - risk.l2 * (both.T @ theta)[:, None] / risk.num_examples
    found = {}
    for name, values in {
        "none": with_l2[0],
        "test": with_l2[1],
        "train": without[0],
        "both": without[1],
    }.items():
        np.save(tmp_path / f"{name}.npy", values.numpy())
        found[name] = said(tmp_path / f"{name}.npy", "--against", run)["faults"]
    assert found == {"none": [], "test": ["l2_test"], "train": ["l2_train"], "both": ["l2_train", "l2_test"]}


def test_a_file_of_truth_is_enough(run: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.parquet"
    succeed("ground-truth", run, "--out", truth)
    np.save(tmp_path / "mine.npy", clean(run))
    assert said(tmp_path / "mine.npy", "--against", truth)["faults"] == []
    assert (tmp_path / "score.json").is_file()
    assert (tmp_path / "score.png").is_file()


def test_scores_become_a_method(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", clean(run))
    succeed("score", tmp_path / "mine.npy", "--into", run)
    succeed("plot", run)
    methods = json.loads((run / "summary.json").read_text())["methods"]
    assert methods["mine"]["pearson"] == pytest.approx(methods["cg"]["pearson"], rel=1e-12)
    checked = succeed("check", run)
    assert f"All that was computed again in {run} follows from the data and the stored weights." in checked
    assert "only checked that they are as they were written: score.json, score.csv." in checked
    page = Path(str(run / "report.html"))
    succeed("report", run)
    assert "mine.npy --into" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        (np.zeros((7, 5)), "has the shape 7 × 5"),
        (np.full(300, np.nan), "300 of 300 scores that are NaN"),
        (np.zeros(299), "scores of 299 training points"),
        (pd.DataFrame({"test_index": 5, "train_index": range(300), "score": 0.1}), "scores test point 5"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(
    run: Path, tmp_path: Path, scores: np.ndarray | pd.DataFrame, line: str
) -> None:
    file = tmp_path / "mine.npy"
    if isinstance(scores, pd.DataFrame):
        scores.to_csv(file, index=False)
    else:
        np.save(file, scores)
    refused = repro("score", file, "--against", run)
    assert refused.exit_code == 2
    assert line in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (run / "score.json").exists()


def test_a_run_without_a_truth_is_refused(run: Path, tmp_path: Path) -> None:
    """Its table has no row, as where nothing was left out alone."""
    np.save(tmp_path / "mine.npy", clean(run))
    head = (run / "leave_one_out.csv").read_text(encoding="utf-8").splitlines()[0]
    write_text_result(RunFolder(run), run / "leave_one_out.csv", head + "\n")
    refused = repro("score", tmp_path / "mine.npy", "--against", run)
    assert refused.exit_code == 2
    assert "has no rows" in refused.stderr


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_truth_as_matrices(run: Path, tmp_path: Path, suffix: str) -> None:
    """A row for each test point and a column for each left-out point, the numbers of the table."""
    succeed("ground-truth", run, "--out", tmp_path / "truth.csv")
    succeed("ground-truth", run, "--out", tmp_path / f"truth.{suffix}")
    table = pd.read_csv(tmp_path / "truth.csv")
    read = np.load if suffix == "npz" else load_file
    found = dict(read(tmp_path / f"truth.{suffix}"))
    assert found["test_index"].tolist() == [TARGET]
    np.testing.assert_array_equal(found["train_index"], table["train_index"])
    for name in ("actual_change", "certificate"):
        np.testing.assert_allclose(found[name], table[name].to_numpy()[None], rtol=1e-15)


def test_a_pickle_is_not_executed(run: Path, tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    refused = repro("score", write_pickle(tmp_path / "mine.pkl", canary), "--against", run)
    assert refused.exit_code == 2
    assert "executes code" in refused.stderr
    assert not canary.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere.npy", "--against", "{run}"),
        ("{mine}", "--against", "nowhere"),
        ("{mine}", "--against", "{mine}"),
        ("{mine}", "--against", "{run}", "--format", "mine"),
        ("{mine}", "--into", "{mine}"),
        ("{cg}", "--into", "{run}"),
    ],
)
def test_wrong_words_are_usage_errors(run: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    for name in ("mine", "cg"):
        np.save(tmp_path / f"{name}.npy", clean(run))
    places = {"run": run, "mine": tmp_path / "mine.npy", "cg": tmp_path / "cg.npy"}
    refused = repro("score", *(word.format(**places) for word in words))
    assert refused.exit_code == 2, refused.output
    assert not (run / "influence" / "mine.csv").exists()


def test_a_function_judges_what_has_no_file() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 4, dtype=torch.float64, generator=generator)
    y = torch.randint(0, 3, (80,), generator=generator)
    risk = softmax_regression(x, y, l2=0.1)
    theta = fit(risk).theta
    truth = leave_out(risk, theta, [[i] for i in range(80)], x[:2], y[:2])
    predicted = predicted_changes(risk, theta, x[:2], y[:2])
    assert score(predicted, truth).fault_names == []
    assert score(-80 * predicted, truth).fault_names == ["sign", "factor_n"]
    with pytest.raises(UsageError, match="the truth is of 2 test points"):
        score(predicted[0], truth)


def test_the_examples_of_the_help(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are printed, where such files are."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "outputs/demo")
    succeed("ground-truth", "outputs/demo", "--out", "truth.parquet")
    for name in ("scores", "first", "second"):
        np.save(f"{name}.npy", clean(run))
    lines = [line.line for line in printed_lines() if line.where == "repro score --help"]
    examples = [line for line in lines if ".npy" in line]
    assert len(examples) == 3
    for line in examples:
        assert "nothing is wrong" in succeed(*shlex.split(line)[1:])


@pytest.mark.parametrize(
    ("weight", "how"), [(0, "do not follow the changes"), (1, "follow the changes only roughly")]
)
def test_noise_is_not_praised(run: Path, tmp_path: Path, weight: int, how: str) -> None:
    right = clean(run)
    noise = np.random.default_rng(1).normal(size=right.shape) * right.std()
    np.save(tmp_path / "noise.npy", weight * right + noise)
    said = " ".join(succeed("score", tmp_path / "noise.npy", "--against", run).split())
    assert f"no simple change mends the scores, and they {how}" in said
    assert "nothing is wrong" not in said


def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks in their order; the verdicts are those that the page tells."""
    monkeypatch.chdir(tmp_path)
    page = (PROJECT / "docs" / "score.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    shown = []
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(block, names)
            continue
        for line in block.splitlines():
            shown.append(succeed(*shlex.split(line)[1:]))
    assert blocks(page, ("sh",))
    assert "torch.nn.Linear(64, 10, bias=False)" in shown[1]
    assert "mine: sign: " in shown[2]
    assert "mine: factor_n: " in shown[2]
    assert "nothing is wrong" in shown[3]
    assert "report.html" in shown[4]
    assert "[] Interval(value=0.99" in capsys.readouterr().out


def test_the_page_shows_the_scores_that_were_judged(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a verdict and the faults of each file, by the marks of the page's own methods."""
    np.save(tmp_path / "good.npy", clean(run))
    np.save(tmp_path / "<b>.npy", -300 * clean(run))
    succeed("score", tmp_path / "good.npy", tmp_path / "<b>.npy", "--against", run)
    succeed("report", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    section = page.split('<h2 id="judged">')[1].split("</section>")[0]
    assert "nothing with a name" in section
    assert "too few points" not in section
    assert "sign, factor_n" in section
    assert "<b>" not in section
    outcome = page.split("<strong>cg</strong>")[1].split(") ")[1].split(":")[0]
    assert outcome in section.split("<strong>good</strong>")[1].split("</li>")[0]
    folder, table = RunFolder(run), pd.read_csv(run / "score.csv")
    told = (run / "score.json").read_text(encoding="utf-8")
    write_text_result(folder, run / "score.json", told.replace('_points": false', '_points": true'))
    succeed("report", run)
    assert "too few points to name a fault" in (run / "report.html").read_text(encoding="utf-8")
    mine = table[table["scores"] == "<b>"]
    np.testing.assert_allclose(mine["mended_change"], mine["predicted_change"] / -300)
    joined = Experiment(str(run)).agreement()
    assert len(judged_scores(folder, joined)) == 2
    undefined = told.replace('"lds": null', '"lds": {"value": null, "low": null, "high": null}')
    assert undefined != told
    write_text_result(folder, folder.score, undefined)
    assert [one.lds for one in judged_scores(folder, joined)] == [None, None]
    for path, text, line in (
        (folder.score_table, table.assign(actual_change=0.5).to_csv(index=False), "by other actual changes"),
        (folder.score_table, "scores,test_index\n1,2\n", "not as this tool writes it"),
        (folder.score, '{"scores": ' + "[" * 100_000, "not as this tool writes it"),
    ):
        write_text_result(folder, path, text)
        assert judged_scores(folder, joined) == []
        assert line in caplog.records[-1].message


def test_models_of_halves_give_the_datamodeling_score(run: Path, tmp_path: Path) -> None:
    """That of `repro lds`, before and after a change that is no more than of the layout or of units."""
    succeed("lds", run, "--method", "cg", "removals=halves", "removals.count=8")
    np.save(tmp_path / "mine.npy", -300 * np.roll(clean(run), 9))
    found = said(tmp_path / "mine.npy", "--against", run)
    known = json.loads((run / "lds.json").read_text())["methods"]["cg"]["mean"]["value"]
    assert found["faults"] == ["rows_shifted", "sign", "factor_n"]
    assert found["mended"]["lds"]["value"] == pytest.approx(known, abs=1e-12)  # type: ignore[index]
    assert found["lds"]["value"] != pytest.approx(known, abs=1e-3)  # type: ignore[index]
    write_text_result(RunFolder(run), run / "removals.json", "[[0, 1000000]]")
    refused = repro("score", tmp_path / "mine.npy", "--against", run)
    assert refused.exit_code == 2
    assert "of groups is damaged" in refused.stderr
