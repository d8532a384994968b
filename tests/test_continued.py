"""The paper's protocol for its third panel: Adam whose state is kept, and that goes on without each point."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from torch import Tensor

import erm.adam
import retrain.continued
from benchmarks.gauss_newton import jacobian_of_logits
from diagnosis.truth import Truth, judge_truth
from erm.adam import AdamFit, at_start, state_from
from erm.autograd import AutogradRisk
from erm.checkpoint import State
from erm.minibatches import Minibatches
from erm.networks import paper_cnn, weights_of
from erm.risk import EmpiricalRisk
from plots import agreement
from plots.leave_one_out import draw_leave_one_out
from repro.configuration.compose import compose_methods
from repro.problem import make_fit
from repro.retraining import retrain_settings
from retrain import changes
from retrain.certified_softmax import CertifiedSoftmax
from retrain.changes import CONTINUED
from retrain.choice import retrainer_for
from retrain.continued import ContinuedTraining, Training
from retrain.removal import NOTHING
from retrain.removed_risks import without_rows
from retrain.retrainer import NoRetrainerError
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache
from tests.command_line import repro, succeed
from tests.networks import network_at_minimum
from tests.problems import digits_test_points, fitted_digits

FIT = AdamFit(steps=23, learning_rate=0.01, decay_epochs=2, batch_size=16, precision="float64")
ROWS = [(3,), (40,)]
COMMAND = (
    "data=digits", "data.num_train=60", "model=network", "model.hidden=2", "model.l2=0.05", "top_k=4",
    "plot.formats=[png]", "fit=adam", "fit.steps=60", "fit.learning_rate=0.01", "fit.batch_size=20",
    "influence.damping=0.1", "retrain=continued", "retrain.steps=8",
)  # fmt: skip


class Kept:
    """A checkpoint in memory, which interrupts as soon as it was written so many times."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.state: State | None = None

    def load(self) -> State | None:
        return self.state

    def save(self, state: State) -> None:
        self.state = {name: part.clone() for name, part in state.items()}
        self.most -= 1
        if not self.most:
            raise KeyboardInterrupt


def continued(
    risk: EmpiricalRisk, folder: Path, fit: AdamFit, **settings: Any
) -> tuple[ContinuedTraining, Tensor]:
    """A retrainer from where `fit` ends, and θ̂ there."""
    found = fit(risk)
    assert found.moments is not None
    retrainer = retrainer_for(
        risk,
        found.theta,
        WeightCache(folder, "key", pytest.fail),
        RetrainSettings(**settings),
        training=Training(fit=fit, moments=found.moments),
    )
    assert isinstance(retrainer, ContinuedTraining)
    return retrainer, found.theta


def small_cnn() -> AutogradRisk:
    """The paper's on 12 random images of the smallest size."""
    generator = torch.Generator().manual_seed(0)
    module = paper_cnn(441, 10, seed=0)
    x = torch.rand(12, 441, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (12,), generator=generator)
    return AutogradRisk(module=module, x=x, y=y, l2=0.001, regularised=weights_of(module))


def silent(_: object) -> None: ...


def differences(retrainer: ContinuedTraining) -> dict[tuple[int, ...], np.ndarray]:
    return {
        rows: part.differences[place, 0]
        for part in retrainer.cache.parts()
        for place, rows in enumerate(part.removals)
    }


def test_every_epoch_has_every_row_that_is_left_once() -> None:
    batches = Minibatches(21, 5, (0, 1), without=(4,))
    assert batches.per_epoch == 4
    epochs = [torch.cat([batches.rows(4 * epoch + step) for step in range(4)]).tolist() for epoch in range(3)]
    assert all(sorted(rows) == [row for row in range(21) if row != 4] for rows in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert batches.rows(7).tolist() == Minibatches(21, 5, (0, 1), without=(4,)).rows(7).tolist()
    assert batches.rows(7).tolist() != Minibatches(21, 5, (1, 1), without=(4,)).rows(7).tolist()


def test_more_than_there_are_in_a_batch_is_all_of_them() -> None:
    assert sorted(Minibatches(6, 500, (0,), without=(2,)).rows(3).tolist()) == [0, 1, 3, 4, 5]


def test_a_step_is_torchs_where_epsilon_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erm.adam, "EPSILON", 1e-30)
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(1, 7, generator=generator), torch.randn(5, 7, generator=generator)
    state, theta = at_start(start[0].double()), torch.nn.Parameter(start[0].double())
    stepper = torch.optim.Adam([theta], lr=0.1, eps=1e-30)
    for gradient in gradients.double():
        state.advance(gradient[None], 0.1)
        theta.grad = gradient
        stepper.step()
    assert torch.allclose(state.theta[0], theta.detach(), rtol=1e-12)


def test_the_rate_falls_at_its_epochs_and_the_last_one_is_kept() -> None:
    fit = AdamFit(steps=500_000)
    assert [fit.rate(epoch) for epoch in (0, 9_999, 10_000, 20_000)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-6]
    )
    assert fit.final_rate(5_500) == pytest.approx(1e-6)
    assert replace(fit, steps=110_000).final_rate(5_500) == pytest.approx(1e-4)


def test_gradients_of_models_together_are_those_of_each_alone() -> None:
    """Of the CNN: a convolution for each model becomes one in groups."""
    risk, generator = small_cnn(), torch.Generator().manual_seed(0)
    theta = risk.initial_parameters()
    thetas = theta + 0.1 * torch.randn(3, len(theta), generator=generator, dtype=torch.float64)
    rows = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [1, 3, 9, 11]])
    with pytest.MonkeyPatch.context() as patch:
        # Together no model has a risk of its own.
        patch.setattr(type(risk), "subset", lambda self, rows: pytest.fail("one model alone"))
        together = erm.adam.batch_gradients(risk, thetas, rows)
    alone = torch.cat([erm.adam.batch_gradients(risk, thetas[[k]], rows[[k]]) for k in range(3)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-13)
    assert float(alone.norm()) > 0.1


def test_training_that_was_interrupted_ends_at_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erm.adam, "SAVE_EVERY", 5)
    risk, _ = network_at_minimum()
    whole, checkpoint = FIT(risk), Kept(3)
    with pytest.raises(KeyboardInterrupt):
        FIT(risk, checkpoint=checkpoint)
    assert int(checkpoint.state["step"]) == 15  # type: ignore[index]
    after = FIT(risk, checkpoint=checkpoint)
    assert torch.equal(after.theta, whole.theta)
    assert after.moments is not None
    assert whole.moments is not None
    assert torch.equal(after.moments, whole.moments)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("first"),
        lambda state: state.update(theta=state["theta"][:, 1:]),
        lambda state: state["second"].fill_(float("nan")),
        lambda state: state.update(step=torch.zeros(2)),
    ],
)
def test_a_state_of_other_models_is_not_gone_on_from(spoil: Callable[[State], object]) -> None:
    state = at_start(torch.ones(4)).as_tensors()
    assert state_from(dict(state), torch.ones(1, 4)) is not None
    spoil(state)
    assert state_from(state, torch.ones(1, 4)) is None


def test_models_in_a_batch_are_those_of_each_alone(tmp_path: Path) -> None:
    risk, _ = network_at_minimum()
    together, _ = continued(risk, tmp_path / "together", FIT, steps=9)
    alone, _ = continued(risk, tmp_path / "alone", FIT, steps=9, batch_size=1)
    for retrainer in (together, alone):
        assert retrainer.solve(ROWS, silent).removals == (NOTHING, *ROWS)
        assert retrainer.solve(ROWS, silent).removals == ()
    one, other = differences(together), differences(alone)
    assert one.keys() == other.keys() == {NOTHING, *ROWS}
    assert all(np.abs(one[rows]).max() > 1e-4 for rows in one)
    assert all(np.allclose(one[rows], other[rows], rtol=0, atol=1e-14) for rows in one)


def test_retraining_that_was_interrupted_ends_at_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrain.continued, "SAVE_EVERY", 4)
    risk, _ = network_at_minimum()
    whole, _ = continued(risk, tmp_path / "whole", FIT, steps=9)
    whole.solve(ROWS, silent)
    killed, _ = continued(risk, tmp_path / "killed", FIT, steps=9)
    gradients, taken = erm.adam.batch_gradients, list[int]()

    def seven(*arguments: Any) -> Tensor:
        taken.append(1)
        if len(taken) == 7:
            raise KeyboardInterrupt
        return gradients(*arguments)

    monkeypatch.setattr(retrain.continued, "batch_gradients", seven)
    with pytest.raises(KeyboardInterrupt):
        killed.solve(ROWS, silent)
    assert not killed.models()
    killed.solve(ROWS, silent)
    # Six steps before, then from the fourth on.
    assert len(taken) == 7 + 5
    one, other = differences(whole), differences(killed)
    assert all(np.array_equal(one[rows], other[rows]) for rows in one)
    assert not list((tmp_path / "killed").glob(".continued-*"))


def test_enough_steps_of_a_convex_risk_end_at_the_certified_changes(tmp_path: Path) -> None:
    """Batches of all that is left, and a rate that falls: Adam comes to the minimum."""
    risk, fit = fitted_digits(60)
    x, y = digits_test_points(2)
    certified = CertifiedSoftmax(
        risk=risk,
        theta=fit.theta,
        cache=WeightCache(tmp_path / "c", "key", pytest.fail),
        settings=RetrainSettings(),
    )
    certified.solve(ROWS, silent)
    truth = certified.changes(x, y, ROWS).actual_change
    adam = AdamFit(steps=1500, learning_rate=0.01, decay_epochs=1000, batch_size=60, precision="float64")
    retrainer, theta = continued(risk, tmp_path / "a", adam, steps=1000)
    assert float((theta - fit.theta).norm()) < 1e-2 * float(fit.theta.norm())
    retrainer.solve(ROWS, silent)
    found = retrainer.changes(x, y)
    assert found.certificate is None
    assert found.truth == (CONTINUED,) * 3
    apart = found.actual_change[:, 1:] - truth
    assert np.abs(apart).max() < 0.02 * np.abs(truth).max()


def test_norms_and_changes_are_those_of_the_stored_weights(tmp_path: Path) -> None:
    risk, _ = network_at_minimum()
    x, y = digits_test_points(2)
    retrainer, theta = continued(risk, tmp_path, FIT, steps=5)
    retrainer.solve(ROWS, silent)
    found, stored = retrainer.changes(x, y, ROWS), retrainer.models(ROWS)
    for column, rows in enumerate(found.removals):
        model = theta + torch.from_numpy(differences(retrainer)[rows])
        change = risk.losses(model, x, y) - risk.losses(theta, x, y)
        assert found.actual_change[:, column] == pytest.approx(change.numpy(), abs=1e-14)
        norm = float(without_rows(risk, rows).gradient(model).norm())
        assert stored.gradient_norms[column] == pytest.approx(norm, rel=1e-12)
    (again,) = retrainer.recheck(x, y, ROWS)
    assert again.as_recorded.all()
    assert again.actual_change == pytest.approx(found.actual_change)


def test_without_a_state_nothing_goes_on(tmp_path: Path) -> None:
    risk, theta = network_at_minimum()
    cache = WeightCache(tmp_path, "key", pytest.fail)
    with pytest.raises(NoRetrainerError, match=r"fit=adam, or retrain\.steps=null"):
        retrainer_for(risk, theta, cache, RetrainSettings(steps=3))


def test_models_that_are_no_minima_are_not_called_known() -> None:
    truth = Truth(
        actual=np.array([0.1, -0.2]),
        certificate=np.array([np.inf, np.inf]),
        null_control=0.05,
        null_certificate=np.inf,
        models=3,
        missed=0,
    )
    (verdict,) = judge_truth(truth)
    assert verdict.passed is False
    assert "0.05" in verdict.evidence
    assert agreement.CONTINUED == changes.CONTINUED


def test_the_figure_says_that_nothing_is_certified() -> None:
    changes = np.linspace(-1, 1, 5)
    table = pd.DataFrame(
        {"method": "exact", "test_index": 0, "train_index": range(5), "predicted_change": changes}
        | {"predicted_stderr": 0.0, "actual_change": changes, "certificate": np.inf, "truth": CONTINUED}
    )
    sentence = "No actual change has a certificate"
    assert sentence in words_of(table)
    assert "Horizontal bars" not in words_of(table)
    assert sentence not in words_of(table.assign(certificate=0.5))


def words_of(table: pd.DataFrame) -> str:
    found = agreement.agreement(table["predicted_change"].to_numpy(), table["actual_change"].to_numpy())
    figure = draw_leave_one_out(table, {("exact", 0): found}, {})
    return " ".join(" ".join(text.get_text().split()) for text in figure.findobj(Text))


def test_the_protocol_by_its_commands(tmp_path: Path) -> None:
    """From training to the page, with no certificate claimed anywhere; a check finds what was recorded."""
    folder = tmp_path / "run"
    ran = repro("run", "--method", "exact", *COMMAND, f"output_dir={folder}")
    assert ran.exit_code == 0
    assert "no certificates: training went on" in ran.stdout
    assert "trained on" in ran.stdout
    assert ran.stderr.count("fit=local") == ran.stderr.count("fit=local retrain=default") == 1
    table = pd.read_csv(folder / "leave_one_out.csv")
    assert (table["truth"] == CONTINUED).all()
    assert np.isinf(table["certificate"]).all()
    assert table["actual_change"].abs().min() > 0
    assert "4 leave-one-out models and the null control: 0 solved now" in succeed("retrain", str(folder))
    checked = repro("check", str(folder))
    assert "leave-one-out models: 5 models" in checked.stdout
    assert "0 of them not as recorded" in checked.stdout
    assert "certificates by 0.0e+00" in checked.stdout
    succeed("report", str(folder))
    judged = repro("diagnose", str(folder))
    assert "no actual change has a certificate" in judged.stdout
    # Nothing but minima is told to help, all by overrides that go together.
    for misleading in ("another test point", "training noise", "not the influences of this θ̂"):
        assert misleading not in judged.stdout, misleading
    for line in judged.stdout.splitlines():
        assert "fit=local" not in line or "fit=local retrain=default" in line
    assert "for a figure at a minimum: fit=local retrain=default influence.damping=0\n" in judged.stdout
    assert "max_passes" not in judged.output
    # Another number of steps is another truth.
    assert "5 solved now" in succeed("retrain", str(folder), "retrain.steps=9")


def test_a_fit_that_leaves_no_state_is_told_before_retraining(tmp_path: Path) -> None:
    words = [word for word in COMMAND if not word.startswith("fit.")]
    found = repro("run", "--method", "exact", *words, "fit=local", f"output_dir={tmp_path / 'run'}")
    assert found.exit_code == 1
    assert "fit=adam" in found.output


def test_the_papers_experiment_is_composed() -> None:
    """Its steps would take days here: `tests/printed_commands.py` runs the line with fewer."""
    (config,) = compose_methods(["experiment=figure2_cnn"], ["cg"])
    fit, settings = make_fit(config), retrain_settings(config)
    assert (fit.steps, fit.batch_size, fit.final_rate(5_500)) == (500_000, 500, pytest.approx(1e-6))
    assert (settings.steps, config["influence"]["damping"], config["model"]["l2"]) == (30_000, 0.01, 0.001)
    assert (config["data"]["num_train"], config["test_index"], config["top_k"]) == (5_500, 6_558, 100)


def test_the_hessian_of_the_papers_cnn_is_flat_along_a_shift_of_its_last_biases() -> None:
    """They are not regularised, and one number added to all of them changes no difference of logits."""
    risk = small_cnn()
    theta = risk.initial_parameters()
    shift = torch.zeros_like(theta)
    shift[-10:] = 1
    assert float(risk.curvature(theta).product(shift[None]).abs().max()) < 1e-15
    shift[-1] = -9
    assert float(risk.curvature(theta).product(shift[None]).abs().max()) > 1e-3


def test_the_jacobian_of_the_benchmark_is_that_of_the_cnn() -> None:
    risk = small_cnn()
    theta, x = risk.initial_parameters(), risk.x[:2]
    logits, jacobian = jacobian_of_logits(
        [part.float() for part in risk.unflatten(theta).values()], x.float()
    )
    expected = torch.func.jacrev(lambda t: risk.logits(t, x))(theta)
    assert torch.allclose(logits.double(), risk.logits(theta, x), atol=1e-5)
    assert torch.allclose(jacobian.double(), expected, atol=1e-5 * float(expected.abs().max()))
