"""Models of risks that are not convex: solved to their minimum, certified, labelled, kept, and checked."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from erm.autograd import AutogradRisk
from erm.networks import SoftmaxRegression
from erm.risk import EmpiricalRisk
from plots.agreement import OTHER_BASINS, PROVEN, Agreement, agreement, comparable
from plots.leave_one_out import draw_leave_one_out
from repro.fit_checkpoint import FitCheckpoint
from repro.folder.manifest import read_manifest, write_text_result
from repro.folder.paths import RunFolder
from retrain import changes
from retrain.certified_softmax import CertifiedSoftmax
from retrain.choice import retrainer_for
from retrain.continuation import LABELS, LEFT, SAME, UNDECIDED
from retrain.local_changes import local_changes
from retrain.local_retrainer import LocallyCertified
from retrain.removal import leave_one_out
from retrain.removed_risks import without_rows
from retrain.retrainer import LeaveOneOutError, NoRetrainerError, Retrainer
from retrain.settings import RetrainSettings
from retrain.weight_file import LOCAL_FORMAT, read_weights
from retrain.weights import WeightCache
from tests.command_line import repro, succeed
from tests.double_well import LARGEST_TILT, DoubleWell
from tests.networks import network_at_minimum, scipy_minimum, scipy_zero
from tests.problems import digits_test_points, fitted_digits

NETWORK = (
    "data=digits", "data.num_train=60", "model=network", "model.hidden=2", "model.l2=0.05", "top_k=5",
    "plot.formats=[png]",
)  # fmt: skip
ROWS = list(range(0, 120, 6))
"""Of 20 removals."""


def local(risk: EmpiricalRisk, theta: torch.Tensor, folder: Path, **settings: float) -> LocallyCertified:
    cache = WeightCache(folder, "key", pytest.fail)
    return LocallyCertified(risk=risk, theta=theta, cache=cache, settings=RetrainSettings(**settings))  # type: ignore[arg-type]


def silent(_: object) -> None: ...


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LocallyCertified:
    """The 20 removals of a network, solved."""
    risk, theta = network_at_minimum()
    retrainer = local(risk, theta, tmp_path_factory.mktemp("weights"))
    retrainer.solve(leave_one_out(ROWS), silent)
    return retrainer


def test_softmax_regression_by_this_path_is_that_of_the_closed_form(tmp_path: Path) -> None:
    """50 points: both actual changes within the sum of the local and the proven certificate."""
    risk, fit = fitted_digits(200)
    x, y = digits_test_points(3)
    rows = leave_one_out(range(50))
    proven = CertifiedSoftmax(
        risk=risk,
        theta=fit.theta,
        cache=WeightCache(tmp_path / "proven", "key", pytest.fail),
        settings=RetrainSettings(),
    )
    general = local(risk, fit.theta, tmp_path / "local")
    found = []
    for retrainer in (proven, general):
        retrainer.solve(rows, silent)
        found.append(retrainer.changes(x, y))
    one, other = found
    assert one.removals == other.removals
    assert one.truth == (PROVEN,) * 51
    assert set(other.truth) == {SAME}
    assert (np.abs(one.actual_change - other.actual_change) <= one.bound + other.bound).all()
    assert float(other.bound.max()) < 1e-6
    assert (other.margin > 1000).all()
    grown = general.amplification()
    for point, factor in proven.amplification().items():
        assert grown[point] == pytest.approx(factor, rel=1e-6)


def test_of_a_model_whose_facts_are_missing_nothing_is_said(network: LocallyCertified) -> None:
    (part,) = network.cache.parts(leave_one_out(ROWS[:2]))
    bare, base = [replace(part, local=None)], (network.theta, 0.0)
    found = local_changes(network.risk, network.theta, bare, base, *digits_test_points(2))
    assert found.truth == (UNDECIDED,) * 2
    assert (found.margin == 0).all()
    assert found.certificate is not None
    assert np.isinf(found.certificate).all()


def test_every_model_is_at_its_tolerance_certified_and_of_the_basin(network: LocallyCertified) -> None:
    models = network.models()
    assert len(models) == len(ROWS) + 1
    assert models.missed(1e-9) == ()
    found = network.changes(*digits_test_points(2))
    assert set(found.truth) == {SAME}
    assert (found.margin > 100).all()
    nothing = found.null_control
    assert (np.abs(found.actual_change[:, nothing]) <= found.bound[:, nothing]).all()
    effects = np.abs(found.actual_change[:, found.is_point])
    assert np.median(effects) > 100 * found.bound.max()


def assert_scipy_agrees(network: LocallyCertified, rows: list[int]) -> None:
    """From θ̂ by another solver: the same loss within the certificate, and that solver's own distance."""
    risk, theta = network.risk, network.theta
    x, y = digits_test_points(1)
    found = network.changes(x, y)
    before = float(risk.losses(theta, x, y)[0])
    for row in rows:
        without = without_rows(risk, (row,))
        at = scipy_zero(without, scipy_minimum(without, theta))
        hessian = without.curvature(at).matrix()
        own = float(without.gradient(at).norm() / torch.linalg.eigvalsh(hessian)[0])
        own *= 2 * float(risk.loss_gradient(at, x, y).norm())
        column = found.removals.index((row,))
        difference = float(risk.losses(at, x, y)[0]) - before - found.actual_change[0, column]
        assert own < 1e-9
        assert abs(difference) <= found.bound[0, column] + own, row


def test_scipy_finds_the_same_losses(network: LocallyCertified) -> None:
    assert_scipy_agrees(network, ROWS[:3])


@pytest.mark.slow
def test_scipy_finds_the_same_losses_of_twenty(network: LocallyCertified) -> None:
    assert_scipy_agrees(network, ROWS)


def test_what_is_solved_is_kept_and_solved_on_from_where_it_is(
    network: LocallyCertified, tmp_path: Path
) -> None:
    assert network.solve(leave_one_out(ROWS), silent).removals == ()
    shutil.copytree(network.cache.folder, tmp_path / "weights")
    closer = local(network.risk, network.theta, tmp_path / "weights", tolerance=1e-12)
    solved = closer.solve([(6,)], silent)
    assert solved.removals in (((6,),), ((), (6,)))
    assert closer.models([(6,)]).largest_norm <= 1e-12
    for path in network.cache.files():
        _, weights = read_weights(path)
        assert weights.local is not None
        assert weights.differences.shape[1:] == (1, len(network.theta))


def test_groups_are_removals_like_any(network: LocallyCertified, tmp_path: Path) -> None:
    retrainer = local(network.risk, network.theta, tmp_path)
    group = (1, 2, 40)
    retrainer.solve([group], silent)
    without = without_rows(network.risk, group)
    (part,) = retrainer.cache.parts([group])
    at = network.theta + torch.from_numpy(part.differences[0, 0])
    assert float(without.gradient(at).norm()) == pytest.approx(float(part.gradient_norms[0]), abs=1e-14)
    assert retrainer.changes(*digits_test_points(1)).truth == (SAME, SAME)


def test_plain_formulas_find_what_is_recorded_and_a_distance_that_is_too_small(
    network: LocallyCertified, tmp_path: Path
) -> None:
    x, y = digits_test_points(1)
    truth = network.changes(x, y, leave_one_out(ROWS))
    (part,) = list(network.cache.parts(leave_one_out(ROWS[:5])))
    (plain,) = network.recheck(x, y, leave_one_out(ROWS[:5]))
    assert plain.as_recorded.all()
    np.testing.assert_allclose(plain.actual_change[0], truth.actual_change[0, :5], rtol=0, atol=1e-14)
    forged = part.select(np.arange(5))
    forged.distance_bounds[1] /= 2
    forged.gradient_norms[2] *= 1 + 1e-4
    assert forged.local is not None
    forged.local.margins[3] *= 2
    forged.differences[4] += 1e-13
    other = local(network.risk, network.theta, tmp_path)
    other.cache.write(forged)
    (again,) = other.recheck(x, y, leave_one_out(ROWS[:5]))
    assert again.as_recorded.tolist() == [True, False, False, False, False]


def test_labels_are_found_again(network: LocallyCertified, tmp_path: Path) -> None:
    """A label that a model has not, and a minimum that is as good as any but not the end of the path."""
    x, y = digits_test_points(1)
    (part,) = list(network.cache.parts(leave_one_out(ROWS[:4])))
    (plain,) = network.recheck(x, y, leave_one_out(ROWS[:4]))
    assert plain.paths is not None
    assert plain.paths.as_recorded.all()
    forged = part.select(np.arange(4))
    assert forged.local is not None
    forged.local.labels[1] = LABELS.index(LEFT)
    forged.local.labels[2] = LABELS.index(UNDECIDED)
    forged.differences[3] = _mirrored(network, part.differences[3, 0])
    other = local(network.risk, network.theta, tmp_path)
    other.cache.write(forged)
    (again,) = other.recheck(x, y, leave_one_out(ROWS[:4]))
    assert again.paths is not None
    assert again.paths.as_recorded.tolist() == [True, False, True, False]
    assert again.gradient_norms[3] == pytest.approx(plain.gradient_norms[3], rel=1e-3)


def _mirrored(network: LocallyCertified, difference: np.ndarray) -> np.ndarray:
    """Δ of the model whose first unit has the other sign, in and out: tanh is odd, so it answers the same."""
    assert isinstance(network.risk, AutogradRisk)
    parts = network.risk.unflatten(network.theta + torch.from_numpy(difference))
    turned = {name: part.clone() for name, part in parts.items()}
    for name in ("0.weight", "0.bias"):
        turned[name][0] *= -1
    turned["2.weight"][:, 0] *= -1
    return (network.risk.flatten(turned) - network.theta).numpy()


@pytest.mark.parametrize(("first", "label"), [(-3.0, LEFT), (-0.6, SAME), (0.1, SAME), (0.9, SAME)])
def test_labels_are_what_is_known_of_a_double_well(tmp_path: Path, first: float, label: str) -> None:
    """Without row 0 the mean of a is `tilt`: the minimum near 1 is there as long as it is below 2/√27."""
    tilt = 0.8 * LARGEST_TILT if label == SAME else 1.3 * LARGEST_TILT
    others = 9
    a = torch.tensor([first] + [tilt] * others, dtype=torch.float64)
    risk = DoubleWell(a)
    assert float(a.mean()) < LARGEST_TILT
    theta = torch.ones(1, dtype=torch.float64)
    for _ in range(50):
        theta = theta - risk.gradient(theta) / (3 * theta**2 - 1)
    retrainer = local(risk, theta, tmp_path)
    retrainer.solve([(0,)], silent)
    found = retrainer.changes(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64))
    assert found.truth == (SAME, label)
    (part,) = retrainer.cache.parts([(0,)])
    end = float(theta + part.differences[0, 0, 0])
    assert (end > 0.5) == (label == SAME)
    assert abs(end**3 - end + tilt) <= 1e-9


def test_what_cannot_be_retrained_is_refused(tmp_path: Path) -> None:
    risk, theta = network_at_minimum()
    cache = WeightCache(tmp_path, "key", pytest.fail)
    module = SoftmaxRegression(64, 10, bias=False)
    softmax = AutogradRisk(module=module, x=risk.x, y=risk.y, l2=0.1)
    for other, settings, said in (
        (softmax, RetrainSettings(), "Use model=logistic"),
        (risk, RetrainSettings(l2_scaling="sum"), "Use retrain.l2_scaling=mean"),
        (risk, RetrainSettings(shard="data"), "Use retrain.shard=models"),
        (object(), RetrainSettings(), "Use model=logistic"),
    ):
        with pytest.raises(NoRetrainerError, match=said):
            retrainer_for(other, theta, cache, settings)
    assert isinstance(retrainer_for(risk, theta, cache, RetrainSettings()), Retrainer)
    with pytest.raises(LeaveOneOutError, match="not positive definite"):
        local(risk, torch.zeros_like(theta), tmp_path).solve([(0,)], silent)


def test_words_are_the_same_where_rooms_cannot_share_them() -> None:
    assert changes.PROVEN == PROVEN
    assert OTHER_BASINS == (LEFT, UNDECIDED)
    assert LABELS == (SAME, LEFT, UNDECIDED)


def test_models_of_another_basin_are_hollow_and_in_no_statistic() -> None:
    table = pd.DataFrame(
        {
            "method": "exact",
            "test_index": 0,
            "train_index": [0, 1, 2, 3],
            "predicted_change": [1.0, 2.0, 3.0, 2.5],
            "predicted_stderr": 0.0,
            "actual_change": [1.0, 2.0, 3.0, -3.0],
            "certificate": 0.0,
            "truth": [SAME, SAME, SAME, LEFT],
        }
    )
    rows = comparable(table)
    found = agreement(rows["predicted_change"], rows["actual_change"])
    assert found.points == 3
    assert found.pearson == pytest.approx(1)
    figure = draw_leave_one_out(table, {("exact", 0): found}, {})
    points = {part.get_gid(): np.asarray(part.get_offsets()) for part in figure.axes[0].collections}
    assert len(points["points"]) == 3
    np.testing.assert_array_equal(points["hollow"], [[-3.0, 2.5]])
    assert isinstance(found, Agreement)
    assert any("Hollow" in text.get_text() for text in figure.texts)


def test_the_state_of_a_fit_that_has_ended_is_not_missed(tmp_path: Path) -> None:
    """It was written and vouched for, and is gone: `repro check` asks for what the manifest names."""
    folder = RunFolder(tmp_path)
    checkpoint = FitCheckpoint(folder, {}, "data")
    write_text_result(folder, folder.summary, "{}")
    checkpoint.save({"theta": torch.zeros(2)})
    assert set(read_manifest(folder) or {}) == {"fit.safetensors", "summary.json"}
    checkpoint.remove()
    checkpoint.remove()
    assert set(read_manifest(folder) or {}) == {"summary.json"}
    assert not folder.fit_checkpoint.exists()


def test_a_network_goes_all_the_way_and_is_checked(tmp_path: Path) -> None:
    """Table, summary, words, page and check name the certificate for what it is."""
    folder = tmp_path / "run"
    said = succeed("run", "--method", "exact", *NETWORK, f"output_dir={folder}")
    assert "certificates are local" in said
    assert "largest local certificate" in said
    table = pd.read_csv(folder / "leave_one_out.csv")
    assert set(table["truth"]) == {SAME}
    assert (table["margin"] > 100).all()
    assert "local_certificates" in (folder / "summary.json").read_text(encoding="utf-8")
    assert "local certificate" in succeed("report", folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "by local certificates" in page
    assert "<dt>basin</dt>" in page
    checked = repro("check", folder)
    assert checked.exit_code == 0, checked.output
    assert "the certificates are local" in checked.output
    paths = r"good +basins: 6 models: \d linked to θ̂ by their certificates, the paths of \d followed again"
    assert re.search(paths, " ".join(checked.output.split()))
    (path, *_) = (folder / "retrain" / "weights").glob("*.safetensors")
    assert LOCAL_FORMAT.encode() in path.read_bytes()[:4000]
