"""The quadratic around a point that is no minimum: closed forms, and the whole way to the figure."""

import json
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from torch import Tensor

from diagnosis.convergence import Left, check_convergence
from diagnosis.curvature import check_curvature, check_quadratic
from diagnosis.truth import Truth, judge_truth
from erm.autograd import AutogradRisk
from erm.risk import EmpiricalRisk
from influence.spectrum import spectrum
from plots import agreement
from plots.leave_one_out import draw_leave_one_out
from repro.configuration.compose import compose
from repro.retraining import retrain_settings
from repro.stages.run import _without_method_settings
from retrain import changes
from retrain.certified_softmax import CertifiedSoftmax
from retrain.choice import retrainer_for
from retrain.quadratic import QuadraticMinima
from retrain.removal import NOTHING, Removal
from retrain.retrainer import LeaveOneOutError, NoRetrainerError
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache
from tests.command_line import repro, succeed
from tests.networks import random_network
from tests.problems import digits_test_points, fitted_digits

ROWS: list[Removal] = [(3,), (1, 5, 7)]
DAMPING = 0.3
COMMAND = (
    "data=digits", "data.num_train=200", "model=network", "model.hidden=3", "fit=adam", "fit.steps=600",
    "fit.learning_rate=0.01", "fit.batch_size=50", "top_k=10", "plot.formats=[png]",
    "influence.damping=0.02", "retrain=quadratic",
)  # fmt: skip


def silent(_: object) -> None: ...


def quadratic(
    risk: EmpiricalRisk, theta: Tensor, folder: Path, rows: list[Removal], damping: float = DAMPING
) -> QuadraticMinima:
    """A retrainer that has the models of these rows."""
    cache = WeightCache(folder, f"key {damping}", pytest.fail)
    retrainer = retrainer_for(risk, theta, cache, RetrainSettings(damping=damping))
    assert isinstance(retrainer, QuadraticMinima)
    retrainer.solve(rows, silent)
    return retrainer


def away(seed: int = 0) -> tuple[AutogradRisk, Tensor, tuple[Tensor, Tensor]]:
    """A network, a point that is no minimum of its risk, and two test examples."""
    risk, theta = random_network(seed)
    generator = torch.Generator().manual_seed(seed + 10)
    theta = theta + 0.2 * torch.randn(theta.shape, dtype=theta.dtype, generator=generator)
    assert float(risk.gradient(theta).norm()) > 0.01
    test = torch.randn(2, 3, dtype=torch.float64, generator=generator), torch.tensor([0, 1])
    return risk, theta, test


def dense(risk: AutogradRisk, theta: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A = H + damping·I and ∇L(zᵢ, θ̃) of every row, by automatic differentiation of the losses alone."""
    matrix = torch.func.hessian(risk.value)(theta).numpy() + DAMPING * np.eye(len(theta))
    return matrix, torch.func.jacrev(risk.per_example_losses)(theta).numpy()


def stored(retrainer: QuadraticMinima) -> dict[Removal, tuple[np.ndarray, float]]:
    """Δ and the bound on its distance."""
    return {
        rows: (part.differences[place, 0], float(part.distance_bounds[place]))
        for part in retrainer.cache.parts()
        for place, rows in enumerate(part.removals)
    }


@pytest.mark.parametrize("seed", range(3))
def test_models_are_those_of_a_dense_solve_to_fifty_digits(tmp_path: Path, seed: int) -> None:
    risk, theta, _ = away(seed)
    matrix, gradients = dense(risk, theta)
    found = stored(quadratic(risk, theta, tmp_path, ROWS))
    assert set(found) == {NOTHING, *ROWS}
    for rows, (difference, bound) in found.items():
        kept = np.delete(gradients, rows, axis=0)
        with mpmath.workdps(50):
            mean = mpmath.matrix(kept).T * mpmath.ones(len(kept), 1) / len(kept)
            expected = mpmath.lu_solve(mpmath.matrix(matrix), -mean)
            error = float(mpmath.norm(expected - mpmath.matrix(difference)))
        assert error <= bound < 1e-11


def test_changes_are_real_test_losses_and_the_null_control_is_zero(tmp_path: Path) -> None:
    risk, theta, test = away()
    retrainer = quadratic(risk, theta, tmp_path, ROWS)
    found, models = retrainer.changes(*test), stored(retrainer)
    assert found.removals == (NOTHING, (1, 5, 7), (3,))
    assert found.truth == (changes.QUADRATIC,) * 3
    assert (found.actual_change[:, 0] == 0).all()
    assert np.abs(models[NOTHING][0]).max() > 0.01
    before = risk.losses(theta + torch.from_numpy(models[NOTHING][0]), *test)
    for column, rows in enumerate(found.removals):
        after = risk.losses(theta + torch.from_numpy(models[rows][0]), *test)
        assert found.actual_change[:, column] == pytest.approx((after - before).numpy(), abs=1e-15)
    assert (found.bound < 1e-9).all()
    assert (np.abs(found.actual_change[:, 1:]) > found.bound[:, 1:]).all()


def test_without_the_null_control_nothing_is_known(tmp_path: Path) -> None:
    risk, theta, test = away()
    (part,) = quadratic(risk, theta, tmp_path / "a", ROWS).cache.parts([(3,)])
    cache = WeightCache(tmp_path / "b", "key", pytest.fail)
    cache.write(part)
    found = retrainer_for(risk, theta, cache, RetrainSettings(damping=DAMPING)).changes(*test)
    assert found.removals == ()
    assert found.actual_change.shape == (2, 0)


def test_first_order_is_the_derivative_at_the_minimiser_of_the_quadratic(tmp_path: Path) -> None:
    """Examples that are there m times: leaving out one of nm is a finite difference in its weight.

    The derivative is of ∇L̃(zᵢ) = ∇L(zᵢ, θ̃) − ∇R there, and ∇ℓ is taken there too, where predictions have θ̃.
    """
    risk, theta, test = away()
    matrix, gradients = dense(risk, theta)
    step = np.linalg.solve(matrix, gradients.mean(axis=0))
    slopes = risk.loss_gradient(theta - torch.from_numpy(step), *test).numpy()
    derivative = slopes @ np.linalg.solve(matrix, gradients[3] - gradients.mean(axis=0))
    errors = []
    for copies in (100, 200):
        many = risk.subset(torch.arange(risk.num_examples).repeat(copies))
        found = quadratic(many, theta, tmp_path / str(copies), [(3,)]).changes(*test, [(3,)])
        errors.append((many.num_examples - 1) * found.actual_change[:, 0] - derivative)
    assert np.abs(errors[1]).max() < 0.01 * np.abs(derivative).max()
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)


def test_at_a_minimum_it_is_the_real_retraining_to_second_order(tmp_path: Path) -> None:
    """Softmax regression, whose models are certified: half a weight, a quarter of the error."""
    risk, fit = fitted_digits(60)
    x, y = digits_test_points(2)
    effects, errors = [], []
    for copies in (4, 8):
        many = risk.subset(torch.arange(60).repeat(copies))
        folder = tmp_path / str(copies)
        ours = quadratic(many, fit.theta, folder / "a", [(3,)], damping=0.0).changes(x, y, [(3,)])
        cache = WeightCache(folder / "b", "key", pytest.fail)
        certified = CertifiedSoftmax(risk=many, theta=fit.theta, cache=cache, settings=RetrainSettings())
        certified.solve([(3,)], silent)
        real = certified.changes(x, y, [(3,)]).actual_change
        effects.append(np.abs(real).max())
        errors.append(np.abs(ours.actual_change - real).max())
    assert effects[1] == pytest.approx(effects[0] / 2, rel=0.1)
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.1)
    assert errors[1] > 1e-8


def test_a_stored_model_that_was_changed_is_found(tmp_path: Path) -> None:
    risk, theta, test = away()
    retrainer = quadratic(risk, theta, tmp_path, ROWS)
    for rows in (NOTHING, *ROWS):
        (sound,) = retrainer.recheck(*test, [rows])
        assert sound.as_recorded.all()
        changed = retrainer.changes(*test, [rows]).actual_change
        assert sound.actual_change == pytest.approx(changed, abs=1e-15)
    for name, factor in (("differences", 1 + 1e-9), ("distance_bounds", 0.1), ("gradient_norms", 1e4)):
        (part,) = retrainer.cache.parts([(3,)])
        getattr(part, name)[:] *= factor
        other = WeightCache(tmp_path / name, "key", pytest.fail)
        other.write(part)
        forged = QuadraticMinima(risk=risk, theta=theta, cache=other, settings=retrainer.settings)
        (again,) = forged.recheck(*test, [(3,)])
        assert not again.as_recorded.any(), name


def test_an_indefinite_hessian_is_refused_with_a_damping_that_is_enough(tmp_path: Path) -> None:
    risk, theta, _ = away()
    theta = 3 * theta
    smallest = float(torch.linalg.eigvalsh(risk.curvature(theta).matrix())[0])
    assert smallest < -1e-3
    with pytest.raises(LeaveOneOutError, match="has no minimum") as refused:
        quadratic(risk, theta, tmp_path, ROWS, damping=0.5 * -smallest)
    words = str(refused.value)
    assert f"above {-smallest:.2e}" in words
    named = float(words.split("retrain.damping=")[1].split(",")[0])
    assert -smallest < named < -3 * smallest
    assert len(quadratic(risk, theta, tmp_path, ROWS, damping=named).models()) == 3


@pytest.mark.parametrize(
    ("others", "remedy"),
    [
        ({"steps": 3}, r"retrain\.steps=null"),
        ({"l2_scaling": "sum"}, r"retrain\.l2_scaling=mean"),
        ({"shard": "data"}, r"retrain\.shard=models"),
    ],
)
def test_settings_that_it_does_not_take(tmp_path: Path, others: dict[str, Any], remedy: str) -> None:
    risk, theta, _ = away()
    with pytest.raises(NoRetrainerError, match=remedy):
        retrainer_for(
            risk, theta, WeightCache(tmp_path, "", pytest.fail), RetrainSettings(damping=0.0, **others)
        )


def test_the_damping_is_that_of_the_predictions_unless_it_is_named() -> None:
    asked = ["retrain=quadratic", "influence.damping=0.02"]
    config = compose(asked, "exact")
    assert retrain_settings(config).damping == 0.02
    assert retrain_settings(compose([*asked, "retrain.damping=0.5"], "exact")).damping == 0.5
    assert retrain_settings(compose(["retrain=quadratic"], "grad_dot")).damping == 0.0
    assert retrain_settings(compose(["influence.damping=0.02"], "exact")).damping is None
    # What processes of their own compose.
    assert retrain_settings(compose(_without_method_settings(config).overrides)).damping == 0.02


def test_what_diagnose_says() -> None:
    left = Left(gradient_norm=1e-2, change=1e-2, at_most=1e-1, damping=0.0)
    assert "retrain=quadratic" in check_convergence(left, 1e-2, "local").remedy
    diagonal = torch.diag(torch.tensor([-0.1, 0.5], dtype=torch.float64))
    of_diagonal = spectrum(Diagonal(diagonal))
    found = check_curvature([of_diagonal], 0.0, "local")
    assert "influence.damping=0.2 or more" in found.remedy
    assert "retrain=quadratic" in found.remedy
    for damping, expected in ((0.3, True), (0.1, None), (0.05, False)):
        around = check_quadratic([of_diagonal], damping, 1e-2)
        assert around.passed is expected
        assert ("retrain.damping=0.2 influence.damping=0.2" in around.remedy) is (not expected)
    numbers = np.array([0.1, -0.2])
    truth = Truth(
        actual=numbers, certificate=1e-9 * numbers**2, null_control=0.0, null_certificate=1e-9, models=3,
        missed=0, quadratic=True,
    )  # fmt: skip
    assert "of the quadratic around θ̂" in judge_truth(truth)[0].evidence


class Diagonal:
    """A curvature that is no more than its matrix."""

    num_examples, l2, convex = 1, 0.0, False
    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self, hessian: Tensor) -> None:
        self.hessian, self.num_parameters = hessian, len(hessian)

    def product(self, v: Tensor) -> Tensor:
        return v @ self.hessian

    def batch_product(self, indices: Tensor, v: Tensor) -> Tensor:
        return self.product(v)

    def subset(self, indices: Tensor, dtype: torch.dtype) -> "Diagonal":
        return self

    def matrix(self) -> Tensor:
        return self.hessian.clone()


def test_the_whole_way(tmp_path: Path) -> None:
    """Short of a minimum damped predictions are right about the quadratic; a check finds it again."""
    folder = tmp_path / "run"
    said = repro("run", "--method", "exact", "--method", "cg", *COMMAND, f"output_dir={folder}")
    assert said.exit_code == 0
    assert "null control 0.0e+00" in said.stdout
    assert "fit=local" not in said.stderr
    table = pd.read_csv(folder / "leave_one_out.csv")
    assert len(table) == 20
    assert (table["truth"] == changes.QUADRATIC).all()
    assert agreement.QUADRATIC == changes.QUADRATIC
    assert table["certificate"].max() < 1e-3 * table["actual_change"].abs().min()
    for _, own in table.groupby("method"):
        found = agreement.agreement(own["predicted_change"], own["actual_change"])
        assert found.pearson > 0.99
    checked = repro("check", folder).stdout
    assert "leave-one-out models: 11 models" in checked
    assert "0 of them not as recorded" in checked
    # That training has stopped short is the one thing that a check has against it.
    assert checked.count("BAD") == 1
    target = int(table["test_index"][0])
    figure = draw_leave_one_out(table, {(name, target): found for name in ("exact", "cg")}, {})
    words = " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))
    assert "minima of the quadratic around θ̂" in words
    diagnosed = repro("diagnose", folder)
    assert "the truth is that of the quadratic around θ̂" in diagnosed.stdout
    assert "good  quadratic: eigenvalues of H + 0.02·I" in diagnosed.stdout
    # It asks for no minimum, and trains nothing again, so no remedy leads there.
    for misleading in ("converged", "curvature", "training noise", "fit=local", "L2 inside the train"):
        assert misleading not in diagnosed.output, misleading
    succeed("report", folder)
    assert "the truth is that of the quadratic around θ̂" in (folder / "report.html").read_text()
    assert "11 solved now" in succeed("retrain", folder, "retrain.damping=0.03")
    assert "different questions" in repro("plot", folder, "retrain.damping=0.03").stderr


def test_a_quadratic_without_a_minimum_is_said_and_nothing_judged_by_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    short = ("fit.steps=40", "retrain.damping=1e-7", "influence.damping=0.5", f"output_dir={folder}")
    for command in ("train", "influence", "diagnose"):
        method = () if command == "train" else ("--method", "exact")
        said = repro(command, *method, *COMMAND, *short)
    assert said.exit_code == 1, said.output
    verdicts = {one["check"]: one for one in json.loads((folder / "diagnosis.json").read_text())["checks"]}
    assert verdicts["quadratic"]["passed"] is False
    for check in ("signal", "predictions of exact"):
        assert verdicts[check]["passed"] is None
        assert "the quadratic around θ̂ has no minimum" in verdicts[check]["evidence"]
    assert not (folder / "retrain" / "record.json").exists()
