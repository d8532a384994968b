"""`repro diagnose` and the report page judge a run alike; no test point and no method ends in a traceback."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from report import content
from repro.agreement import JoinedChanges
from repro.configuration.compose import compose
from repro.configuration.files import shipped_targets
from repro.page.examples import Pictures, describe_test_point
from repro.page.retraining import read_retraining
from repro.records.influence import InfluenceRecord
from repro.session import Session
from repro.stages.plot import plot
from tests.command_line import FAST, repro, succeed

CG = ("--method", "cg")
QUICK_LISSA = ("influence.scale=8", "influence.depth=2000")
"""As near as the paper's settings on digits, in fewer steps."""


def diagnosis(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "diagnosis.json").read_text())
    return found


def states(run: Path) -> dict[str, bool | None]:
    return {check["check"]: check["passed"] for check in diagnosis(run)["checks"]}


def evidence(run: Path, check: str) -> str:
    (found,) = [one for one in diagnosis(run)["checks"] if one["check"] == check]
    return str(found["evidence"])


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time of a plot, and nothing here is read off one."""
    from repro.stages import plot as stage

    for name in ("scatter", "draw_errors", "write_figure"):
        monkeypatch.setattr(stage, name, lambda *_: [])


def page_of(overrides: tuple[str, ...]) -> content.TestPoint:
    """What the report page of a run says of its first test point."""
    session = Session(compose(list(overrides)))
    with session.opened() as folder:
        joined = plot(session).joined
        assert isinstance(joined, JoinedChanges)
        retraining = read_retraining(
            folder, session.config, joined.model.key, joined.retrainer, joined.removals
        )
    target, dataset = next(iter(joined.summary)), session.dataset
    return describe_test_point(dataset, joined, retraining, target, {}, Pictures.of(dataset))


def assert_page_and_diagnosis_agree(run: Path, overrides: tuple[str, ...]) -> content.TestPoint:
    """State by state and word by word: the truth, every method, and the figure."""
    page, found = page_of(overrides), states(run)
    assert found["figure"] is page.holds
    assert evidence(run, "figure") == page.summary
    assert diagnosis(run)["trusted"] is not True or page.holds is True
    for verdict in page.truth:
        assert found[verdict.check] is verdict.passed
    for method in page.methods:
        assert found[f"predictions of {method.verdict.method}"] is method.verdict.passed
        assert method.verdict.headline in evidence(run, f"predictions of {method.verdict.method}")
    return page


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """What `make demo` runs, and then `repro diagnose` as it is."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    overrides = ("data=digits", "data.num_train=600", *FAST[2:], f"output_dir={folder}")
    methods = [word for name in ("exact", "cg", "lissa", "grad_dot") for word in ("--method", name)]
    succeed("run", *methods, *overrides, *QUICK_LISSA)
    return folder, overrides


def test_right_after_the_demo_the_baseline_condemns_nothing(demo: tuple[Path, tuple[str, ...]]) -> None:
    run, overrides = demo
    said = succeed("diagnose", *overrides)
    assert "The figure can be trusted." in said
    assert "\nbase  predictions of grad_dot: a baseline" in said
    page = assert_page_and_diagnosis_agree(run, overrides)
    assert page.holds is True
    assert "grad_dot, a baseline, does not predict" in page.summary


def record(target: str, baseline: bool) -> InfluenceRecord:
    return InfluenceRecord(
        method="x",
        settings={"_target_": target},
        baseline=baseline,
        model_checksum="",
        test_index=[],
        solutions=[],
        table_checksum=None,
    )


def test_a_record_neither_forgets_nor_pretends_what_a_class_of_the_package_declares() -> None:
    solvers = {name for name in shipped_targets() if name.startswith("influence.")}
    assert len(solvers) >= 5
    for claimed in (True, False):
        for name in solvers:
            assert record(name, claimed).declares_baseline is (name == "influence.grad_dot.GradDot")
        assert record("os.abort", claimed).declares_baseline is claimed


def test_being_a_baseline_is_declared_by_the_method_and_not_by_its_name(
    demo: tuple[Path, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same solver twice under names of its own: it condemns the figure unless it declares itself."""
    run, overrides = demo
    (tmp_path / "influence").mkdir()
    (tmp_path / "mine_of_gradients.py").write_text(
        "from influence.grad_dot import GradDot\n"
        "class Plain:\n"
        "    def at(self, curvature, progress=None):\n"
        "        return GradDot().at(curvature, progress)\n"
        "class Declared(Plain):\n"
        "    baseline = True\n"
    )
    for name in ("Plain", "Declared"):
        (tmp_path / "influence" / f"own_{name.lower()}.yaml").write_text(
            f"_target_: mine_of_gradients.{name}\n"
        )
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    succeed("run", "--method", "own_declared", *overrides)
    assert "can be trusted" in succeed("diagnose", *overrides)
    succeed("run", "--method", "own_plain", *overrides)
    result = repro("diagnose", *overrides)
    assert result.exit_code == 1
    assert states(run)["predictions of own_plain"] is False
    assert states(run)["predictions of own_declared"] is None
    page = assert_page_and_diagnosis_agree(run, overrides)
    assert page.holds is False
    for suffix in ("csv", "json"):
        (run / "influence" / f"own_plain.{suffix}").unlink()
        (run / "influence" / f"own_declared.{suffix}").unlink()


def test_lissa_is_judged_when_it_is_in_the_figure_and_not_when_the_method_is_cg(tmp_path: Path) -> None:
    """At λ = 0.001 the paper's settings leave most of the slowest mode; of CG's figure that says nothing."""
    overrides = (*FAST, "model.l2=0.001", f"output_dir={tmp_path}/run")
    result = repro("diagnose", *CG, *overrides)
    assert result.exit_code == 0, result.output
    assert "LiSSA" not in states(tmp_path / "run")
    assert not any("lissa" in check for check in states(tmp_path / "run"))
    # Named, it is judged, and what it leaves is found.
    result = repro("diagnose", "--method", "lissa", "influence.depth=1000", *overrides)
    assert result.exit_code == 1
    assert states(tmp_path / "run")["LiSSA"] is False


def test_correct_predictions_of_heavy_points_are_no_forgotten_factor(tmp_path: Path) -> None:
    overrides = (*FAST, "model.l2=0.001", f"output_dir={tmp_path}/run")
    succeed("diagnose", *CG, *overrides)
    run = tmp_path / "run"
    assert states(run)["predictions of cg"] is None
    (check,) = [one for one in diagnosis(run)["checks"] if one["check"] == "predictions of cg"]
    assert check["numbers"]["slope"] > 1.25
    assert "leverage of up to" in check["evidence"]
    assert not any(word in check["remedy"] for word in ("1/n", "1/scale"))
    assert False not in states(run).values()
    assert diagnosis(run)["trusted"] is None


@pytest.mark.figures
def test_the_default_problem_is_trusted_though_its_points_weigh_something(tmp_path: Path) -> None:
    overrides = (*FAST, f"output_dir={tmp_path}/run")
    said = succeed("diagnose", *CG, *overrides)
    assert "The figure can be trusted." in said
    assert "what it misses is leverage" in said
    run = tmp_path / "run"
    assert diagnosis(run)["trusted"] is True
    assert (run / "plots" / "spectrum.png").stat().st_size > 1000
    # What it solved is what the run needs, and its record accounts for it.
    assert "0 solved now" in succeed("run", *CG, *overrides)
    page = assert_page_and_diagnosis_agree(run, overrides)
    assert page.methods[0].verdict.passed is True


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Test points 0: all zeros; 1: its one feature is 0 in all training data; 2: an ordinary one."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 6))
    x[:, 5] = 0
    y = (x[:, 0] + 0.5 * draw.normal(size=80) > 0).astype(int) + (x[:, 1] > 1)
    x_test = x[60:].copy()
    x_test[:2] = 0
    x_test[1, 5] = 1
    np.savez(tmp_path / "odd.npz", x_train=x[:60], y_train=y[:60], x_test=x_test, y_test=y[60:])
    return tmp_path


@pytest.mark.parametrize(
    ("method", "test_index"),
    [
        ("cg", 0),
        pytest.param("cg", 1, marks=pytest.mark.slow),
        pytest.param("lissa", 0, marks=pytest.mark.slow),
        ("grad_dot", 1),
    ],
)
def test_a_test_point_that_no_removal_changes_is_undecided(odd: Path, method: str, test_index: int) -> None:
    overrides = (
        "data=npz", f"data.path={odd}/odd.npz", "top_k=20", f"test_index={test_index}",
        "plot.formats=[png]", f"output_dir={odd}/run",
    )  # fmt: skip
    few = ["influence.depth=200"] if method == "lissa" else []
    said = succeed("diagnose", "--method", method, *overrides, *few)
    assert "neither confirmed nor refuted" in said
    assert diagnosis(odd / "run")["trusted"] is None
    assert False not in states(odd / "run").values()
    succeed("run", "--method", method, *overrides, *few)
    succeed("diagnose", *overrides)
    assert assert_page_and_diagnosis_agree(odd / "run", overrides).holds is None


def test_the_configured_retraining_is_used_and_what_is_recommended_works(tmp_path: Path) -> None:
    """Models solved too loosely; the tolerance that is advised makes the effects visible."""
    overrides = (*FAST, "top_k=300", "retrain.precision=float64")
    loose = tmp_path / "loose"
    result = repro("diagnose", *CG, *overrides, "retrain.tolerance=1e-4", f"output_dir={loose}")
    assert result.exit_code == 1
    assert states(loose)["signal"] is False
    (record,) = json.loads((loose / "retrain" / "record.json").read_text())["runs"]
    assert record["settings"]["tolerance"] == 1e-4
    assert record["settings"]["precision"] == "float64"
    (signal,) = [one for one in diagnosis(loose)["checks"] if one["check"] == "signal"]
    (advised,) = [word for word in signal["remedy"].split() if word.startswith("retrain.tolerance=")]
    assert float(advised.split("=")[1]) < 1e-4
    # In the same folder: models that are stored looser than asked are solved on.
    assert "can be trusted" in succeed("diagnose", *CG, *overrides, advised, f"output_dir={loose}")
    assert states(loose)["signal"] is True


def forged(table: pd.DataFrame, how: str) -> pd.DataFrame:
    """Predictions made wrong in one way."""
    predicted = table["predicted_change"]
    draw = np.random.default_rng(0)
    spread = float(predicted.abs().max())
    wrong = {
        "noisy": predicted + 0.3 * spread * draw.normal(size=len(predicted)),
        "without 1/n": 300 * predicted,
        "without 1/scale": 25 * predicted,
        "shifted": predicted + 0.05 * spread,
        "turned": -predicted,
        "zero": 0.0 * predicted,
    }[how]
    return table.assign(predicted_change=wrong, influence=-300 * wrong)


@pytest.mark.parametrize("how", ["noisy", "without 1/n", "without 1/scale", "shifted", "turned", "zero"])
def test_wrong_predictions_are_bad_in_the_diagnosis_and_on_the_page(
    finished: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    from repro.records import influence as influence_files

    overrides = (*FAST, "model.l2=0.1", f"output_dir={finished}")
    true_table = influence_files.read_table

    def read_table(*arguments: Any) -> pd.DataFrame | None:
        found = true_table(*arguments)
        return None if found is None else forged(found, how)

    for module in (influence_files, sys.modules["repro.predictions"]):
        monkeypatch.setattr(module, "read_table", read_table)
    result = repro("diagnose", *overrides)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert states(finished)["predictions of cg"] is False
    page = assert_page_and_diagnosis_agree(finished, overrides)
    assert page.holds is False


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forged") / "run"
    succeed("run", *CG, *FAST, "model.l2=0.1", f"output_dir={folder}")
    return folder


def test_diagnose_names_what_broke_the_report_and_its_advice_repairs_it(tmp_path: Path) -> None:
    """The reported attempt, on digits: no L2, a bias, SGD in float32."""
    report = [*FAST, "model.l2=0.0", "model.bias=true", "influence.damping=1e-4"]
    result = repro("diagnose", *report, "fit=sgd", f"output_dir={tmp_path}/report")
    assert result.exit_code == 1
    failed = {check for check, passed in states(tmp_path / "report").items() if passed is False}
    assert {"converged", "curvature", "training noise"} <= failed
    (advice,) = [line for line in result.stdout.splitlines() if line.startswith("The smallest change")]
    repaired = shlex.split(advice.split(": ", 1)[1])
    assert set(repaired) == {"model.l2=0.01", "fit=newton"}
    result = repro("diagnose", *report, *repaired, f"output_dir={tmp_path}/repaired")
    assert result.exit_code == 0, result.output
    assert False not in states(tmp_path / "repaired").values()


def test_every_step_is_named_and_the_bar_moves(tmp_path: Path) -> None:
    result = repro("diagnose", *CG, *FAST, "--log-json", f"output_dir={tmp_path}/run")
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    told = [line for line in lines if line["event"] == "progress" and line["task"] == "diagnosing"]
    assert told
    assert all(line["total"] == 100 for line in told)
    done = [line["done"] for line in told]
    assert done == sorted(done)
    assert len(set(done)) > 4
    stages = " ".join(line["stage"] for line in told)
    for step in (
        "eigenvalues of H in float32",
        "eigenvalues of H in float64",
        "s_test by conjugate gradient",
    ):
        assert step in stages
    assert "leave-one-out models" in stages
