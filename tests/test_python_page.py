"""docs/python.md as it stands: run from top to bottom, and what it says of the results."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from erm.softmax import SoftmaxRisk
from influence.exact import Exact
from repro import Experiment, certify, fit, influence, leave_out, softmax_regression
from repro.configuration.compose import compose
from repro.errors import StageError, UsageError
from repro.session import Session
from tests.command_line import PROJECT, succeed
from tests.problems import digits_risk, digits_test_points

PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the names of the page stand for in the end."""
    text = (PROJECT / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        exec("\n".join(PYTHON.findall(text)), names)
        succeed("check", "outputs/python")
        names["folder"] = Path("outputs/python").absolute()
    return names


def test_the_table_is_the_one_of_the_command_line(page: dict[str, Any]) -> None:
    joined, folder = page["joined"], page["folder"]
    written = pd.read_csv(folder / "leave_one_out.csv")
    pd.testing.assert_frame_equal(joined.table.reset_index(drop=True), written, check_exact=True)
    assert set(written["method"]) == {"cg", "lissa"}
    (point,) = joined.summary.values()
    assert point.methods["cg"].agreement.pearson > 0.999
    assert abs(point.methods["cg"].agreement.slope - 1) < 0.1


def test_predictions_of_python_and_of_the_page_agree_with_the_actual_changes(page: dict[str, Any]) -> None:
    predicted, actual, points = page["predicted"], page["actual"], page["points"]
    error = (predicted[:, points] - actual.actual_change).abs().max()
    assert error < 0.2 * actual.actual_change.abs().max()
    assert actual.certificate.max() < 1e-5


def test_a_foreign_fit_is_as_far_off_as_its_certificate_allows(page: dict[str, Any]) -> None:
    risk, theta, theirs = page["risk"], page["theta"], page["theirs"]
    ours = leave_out(risk, theta, page["removals"], page["x_test"], page["y_test"], tolerance=1e-11)
    difference = (ours.actual_change - theirs.actual_change).abs()
    assert (difference <= ours.certificate + theirs.certificate).all()
    assert theirs.certificate.max() < 1e-2


def test_the_network_has_an_influence_for_each_example(page: dict[str, Any]) -> None:
    assert page["at_minimum"].converged
    assert page["of_network"].shape == (2, 100)


def test_a_certificate_holds_at_any_parameters() -> None:
    risk, (x_test, y_test) = digits_risk(60), digits_test_points(3)
    theta = fit(risk).theta
    removals = [[4], [7, 9], list(range(20, 50))]
    truth = leave_out(risk, theta, removals, x_test, y_test, tolerance=1e-12)
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-9, 1e-4, 1.0):
        noise = scale * torch.randn(3, len(theta), generator=generator, dtype=torch.float64)
        found = certify(risk, theta, theta + noise, removals, x_test, y_test)
        error = (found.actual_change - truth.actual_change).abs()
        assert (error <= found.certificate + truth.certificate).all()
        assert found.removals == truth.removals


@pytest.mark.parametrize("scale", [1e-2, 1.0])
def test_a_certificate_is_what_the_gradient_allows_and_little_more(scale: float) -> None:
    risk, (x_test, y_test) = digits_risk(60), digits_test_points(3)
    theta = fit(risk).theta
    removals = [[4], [7, 9], list(range(20, 50))]
    noise = scale * torch.randn(
        3, len(theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    found = certify(risk, theta, theta + noise, removals, x_test, y_test)
    for column, rows in enumerate(removals):
        kept = torch.tensor([row for row in range(60) if row not in rows])
        gradient = risk.subset(kept).gradient(theta + noise[column])
        # |Δ loss| ≤ √2 ‖x_test‖ ‖θ − θ*‖ and ‖θ − θ*‖ ≤ ‖∇R₋S(θ)‖ / λ.
        bound = 2**0.5 * x_test.norm(dim=1) * gradient.norm() / risk.l2
        torch.testing.assert_close(found.certificate[:, column], bound, rtol=1e-3, atol=0)


def test_actual_changes_are_those_of_a_fit_without_the_rows() -> None:
    risk, (x_test, y_test) = digits_risk(60), digits_test_points(3)
    theta = fit(risk).theta
    removals = [[4], [7, 9], list(range(20, 50))]
    found = leave_out(risk, theta, removals, x_test, y_test)
    nearer = leave_out(risk, theta, removals, x_test, y_test, tolerance=1e-12)
    for column, rows in enumerate(removals):
        kept = torch.tensor([row for row in range(60) if row not in rows])
        without = fit(risk.subset(kept)).theta
        change = risk.losses(without, x_test, y_test) - risk.losses(theta, x_test, y_test)
        assert ((found.actual_change[:, column] - change).abs() <= found.certificate[:, column]).all()
        torch.testing.assert_close(nearer.actual_change[:, column], change, rtol=0, atol=1e-9)


def test_models_are_kept_where_the_user_says(tmp_path: Path) -> None:
    risk, (x_test, y_test) = digits_risk(60), digits_test_points(1)
    theta = fit(risk).theta
    first = leave_out(risk, theta, [[3], [5]], x_test, y_test, folder=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = leave_out(risk, theta, [[5], [3]], x_test, y_test, folder=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert torch.equal(again.actual_change, first.actual_change[:, [1, 0]])


def test_an_influence_is_minus_the_change_by_the_closed_form() -> None:
    risk, (x_test, y_test) = digits_risk(60), digits_test_points(2)
    theta = fit(risk).theta
    s = torch.linalg.solve(risk.curvature(theta).matrix(), risk.loss_gradient(theta, x_test, y_test).T).T
    expected = risk.per_example_gradient_dots(theta, s) / 60
    found = influence(risk, theta, x_test, y_test, solver=Exact())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


def test_wrong_removals_are_named() -> None:
    risk, (x_test, y_test) = digits_risk(60), digits_test_points(1)
    theta = fit(risk).theta
    for rows, said in (([3, 3], "twice"), ([60], "60"), (range(60), "leaves nothing")):
        with pytest.raises(ValueError, match=said):
            leave_out(risk, theta, [rows], x_test, y_test)
    with pytest.raises(ValueError, match="2 candidates for 1 removals"):
        certify(risk, theta, torch.stack([theta, theta]), [[1]], x_test, y_test)
    with pytest.raises(ValueError, match="NaN"):
        certify(risk, theta, torch.full_like(theta, torch.nan)[None], [[1]], x_test, y_test)


def test_softmax_regression_of_single_precision_is_computed_in_double() -> None:
    x, y = digits_test_points(30)
    risk = softmax_regression(x.float(), y, l2=0.1, bias=True)
    assert risk.x.dtype == torch.float64
    assert fit(risk).gradient_norm <= 1e-10


def test_a_title_names_the_settings_that_are_not_those_of_the_file(tmp_path: Path) -> None:
    run = Experiment("data=digits", "data.num_train=100", "top_k=5", output_dir=tmp_path / "run")
    run.train()
    run.predict("cg", damping=0.01)
    run.predict("grad_dot")
    run.retrain()
    titles = [axes.get_title() for axes in run.figure().axes if axes.get_title()]
    assert titles == ["Linear (exact, CG), damping 0.01", "Gradient dot product"]


def test_sessions_of_the_same_data_and_model_share_the_examples_and_the_risk() -> None:
    usual = Session(compose(["data=digits", "data.num_train=100"]))
    other = usual.under(compose(["data=digits", "data.num_train=100", "influence=cg"]))
    assert other.dataset is usual.dataset
    assert other.risk is usual.risk
    stronger = usual.under(compose(["data=digits", "data.num_train=100", "model.l2=0.5"]))
    assert stronger.dataset is usual.dataset
    assert isinstance(stronger.risk, SoftmaxRisk)
    assert stronger.risk.l2 == 0.5
    fewer = usual.under(compose(["data=digits", "data.num_train=50"]))
    assert fewer.risk.num_examples == 50


def test_mistakes_are_the_errors_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Did you mean model\.l2"):
        Experiment("data=digits", "model.l3=1")
    run = Experiment("data=digits", "data.num_train=100", output_dir=tmp_path / "run")
    with pytest.raises(StageError, match=r"model\.safetensors is missing"):
        run.retrain()
    run.train()
    with pytest.raises(UsageError, match="no such method"):
        run.predict("magic")
