"""docs/extending.md is true: its code is that of examples/, its commands run, its mathematics holds."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from erm.autograd import AutogradRisk
from erm.dataset import Dataset
from erm.fit import NewtonFit
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk
from examples.neumann import Neumann
from influence.solution import Status
from repro.configuration.compose import compose
from repro.problem import load_dataset, make_risk
from tests.command_line import PROJECT, succeed
from tests.dense_curvature import random_vector, spread, with_eigenvalues

PAGE = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
LISTED = re.compile(r"\[(examples/[\w./]+)\]\(\.\./\1\)\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All commands of the page have run, in order, in a folder of their own beside examples/."""
    folder = tmp_path_factory.mktemp("extending")
    (folder / "examples").symlink_to(PROJECT / "examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in "".join(SHELL.findall(PAGE)).splitlines():
            words = shlex.split(line)
            if words[0] == "export":
                patch.setenv(*words[1].replace("$PWD", str(folder)).split("=", 1))
            else:
                assert words[0] == "repro", line
                succeed(*words[1:])
    return folder / "outputs"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(PROJECT / "examples"))


def run_of(outputs: Path, model: str) -> Path:
    (folder,) = outputs.glob(f"cancer-{model}-*")
    return folder


def problem(run: Path, *overrides: str) -> tuple[Dataset, EmpiricalRisk, torch.Tensor, int]:
    """Data set, risk, θ̂ and test point of a run."""
    config = compose(["data=cancer", *overrides])
    dataset = load_dataset(config)
    risk = make_risk(config, dataset, torch.device("cpu"))
    record = json.loads((run / "influence" / "exact.json").read_text())
    return dataset, risk, load_file(run / "model.safetensors")["theta"], record["test_index"][0]


def all_but(index: int, count: int) -> torch.Tensor:
    return torch.cat([torch.arange(index), torch.arange(index + 1, count)])


def test_the_page_shows_every_example_as_it_is() -> None:
    shown = dict(LISTED.findall(PAGE))
    files = {str(path.relative_to(PROJECT)) for path in (PROJECT / "examples").rglob("*.[py][ya]*")}
    assert set(shown) == {name for name in files if name.endswith((".py", ".yaml"))}
    for name, text in shown.items():
        assert text == (PROJECT / name).read_text(encoding="utf-8"), f"docs/extending.md shows another {name}"


def test_own_data_go_through_all_four_commands(outputs: Path, own: None) -> None:
    run = run_of(outputs, "logistic")
    summary = json.loads((run / "summary.json").read_text())
    # What the page says.
    assert summary["methods"]["exact"]["spearman"] == pytest.approx(0.997, abs=1e-3)
    assert summary["methods"]["exact"]["slope"] == pytest.approx(1.23, abs=0.01)
    assert abs(summary["null_control"]) <= summary["null_control_certificate"]
    dataset, risk, theta, target = problem(run)
    assert isinstance(risk, SoftmaxRisk)
    test_point = torch.from_numpy(dataset.x_test[[target]]), torch.from_numpy(dataset.y_test[[target]])
    rows = pd.read_csv(run / "leave_one_out.csv").query("method == 'exact'")[:4]
    for row in rows.itertuples():
        others = all_but(int(str(row.train_index)), risk.num_examples)
        without = NewtonFit(tolerance=1e-11)(risk.subset(others), start=theta)
        change = float((risk.losses(without.theta, *test_point) - risk.losses(theta, *test_point))[0])
        assert abs(change - float(str(row.actual_change))) <= float(str(row.certificate)) + 1e-8


def test_own_removals_are_what_each_method_predicts_to_harm_most(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The folder that the commands had: a module keeps the path it was imported from.
    monkeypatch.setenv("REPRO_CONFIG_DIR", str(outputs.parent / "examples"))
    run = tmp_path / "run"
    shutil.copytree(run_of(outputs, "logistic"), run)
    succeed("plot", "data=cancer", "removals=harmful", f"output_dir={run}")
    table = pd.read_csv(run / "leave_one_out.csv")
    assert set(table["selection"]) == {"harmful"}
    assert set(table["method"]) == {"exact", "neumann"}
    for method, rows in table.groupby("method"):
        influence = pd.read_csv(run / "influence" / f"{method}.csv")["influence"]
        assert rows["train_index"].tolist() == influence.nlargest(20).index.tolist()
    # They do harm: without them the loss is lower, beyond the certificate.
    assert (table["actual_change"] < -table["certificate"]).all()


def test_own_solver_is_exact_to_its_tolerance(outputs: Path, own: None) -> None:
    run = run_of(outputs, "logistic")
    dataset, risk, theta, target = problem(run)
    x, y = torch.from_numpy(dataset.x_test[[target]]), torch.from_numpy(dataset.y_test[[target]])
    record = json.loads((run / "influence" / "neumann.json").read_text())
    assert record["solutions"][0]["status"] == "converged"
    assert 1e-9 < record["solutions"][0]["relative_residual"] <= record["settings"]["tolerance"] == 1e-6
    distance = 1e-6 * float(risk.loss_gradient(theta, x, y).norm()) / risk.l2
    x_train, y_train = torch.from_numpy(dataset.x_train), torch.from_numpy(dataset.y_train)
    lengths = (risk.loss_gradient(theta, x_train, y_train) + risk.l2 * theta).norm(dim=1).numpy()
    tables = [pd.read_csv(run / "influence" / f"{name}.csv")["influence"] for name in ("neumann", "exact")]
    error = (tables[0] - tables[1]).abs().to_numpy()
    assert (error <= lengths * distance).all()
    assert error.max() > 0
    assert set(json.loads((run / "summary.json").read_text())["methods"]) == {"exact", "neumann"}


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_own_solver_solves_for_any_positive_definite_matrix(damping: float) -> None:
    curvature, v = with_eigenvalues(spread(1e-2, 30)), random_vector(30)
    found = Neumann(damping=damping, tolerance=1e-8).at(curvature)(v)
    truth = torch.linalg.solve(curvature.matrix() + damping * torch.eye(30, dtype=torch.float64), v)
    assert found.status is Status.CONVERGED
    assert float((found.value - truth).norm()) <= 1e-8 * float(v.norm()) / (1e-2 + damping)
    zero = Neumann(damping=damping).at(curvature)(torch.zeros_like(v))
    assert zero.status is Status.CONVERGED
    assert not zero.value.any()


@pytest.mark.parametrize(("smallest", "status"), [(-0.5, Status.SINGULAR), (0.0, Status.NOT_CONVERGED)])
def test_own_solver_has_no_numbers_where_there_is_no_solution(smallest: float, status: Status) -> None:
    eigenvalues = torch.tensor([smallest, 0.4, 1.0], dtype=torch.float64)
    found = Neumann(max_iterations=400).at(with_eigenvalues(eigenvalues))(random_vector(3))
    assert found.status is status
    assert found.value.isnan().all()
    assert "influence.damping" in found.message


def test_own_model_predicts_what_leaving_out_does(outputs: Path, own: None) -> None:
    """Brute force: minimise R₋ᵢ from θ̂ by the fit that found it, without a certificate."""
    run = run_of(outputs, "bottleneck")
    dataset, risk, theta, target = problem(run, "model=bottleneck")
    assert isinstance(risk, AutogradRisk)
    x, y = torch.from_numpy(dataset.x_test[[target]]), torch.from_numpy(dataset.y_test[[target]])
    table = pd.read_csv(run / "influence" / "exact.csv")
    top = table.reindex(table["influence"].abs().sort_values(ascending=False).index)[:5]
    before, actual = risk.losses(theta, x, y), []
    for index in top["train_index"]:
        others = all_but(int(index), risk.num_examples)
        fit = NewtonFit(tolerance=1e-6)(risk.subset(others), start=theta)
        assert fit.converged
        actual.append(float((risk.losses(fit.theta, x, y) - before)[0]))
    slope, _ = np.polyfit(top["predicted_change"], actual, 1)
    assert np.corrcoef(top["predicted_change"], actual)[0, 1] > 0.95
    assert 1.0 < slope < 1.5


def test_own_model_influence_is_the_derivative(outputs: Path, own: None) -> None:
    """dℓ/dε at the minimiser of R + εL(zᵢ), by central differences at ε = ±1e-5."""
    run = run_of(outputs, "bottleneck")
    dataset, risk, theta, target = problem(run, "model=bottleneck")
    x, y = torch.from_numpy(dataset.x_test[[target]]), torch.from_numpy(dataset.y_test[[target]])
    factor = torch.linalg.cholesky(risk.curvature(theta).matrix())
    table = pd.read_csv(run / "influence" / "exact.csv")
    index = int(table["influence"].abs().to_numpy().argmax())
    x_own = torch.from_numpy(dataset.x_train[[index]])
    y_own = torch.from_numpy(dataset.y_train[[index]])

    def loss_under_weight(epsilon: float) -> float:
        moved = theta
        for _ in range(8):
            own_gradient = risk.loss_gradient(moved, x_own, y_own)[0] + risk.l2 * moved
            gradient = risk.gradient(moved) + epsilon * own_gradient
            moved = moved - torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        assert float(gradient.norm()) < 1e-11
        return float(risk.losses(moved, x, y)[0])

    difference = (loss_under_weight(1e-5) - loss_under_weight(-1e-5)) / 2e-5
    assert difference == pytest.approx(table["influence"][index], rel=1e-4)
