"""Any small problem: the right change within its certificate, or a clear refusal."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from typer.testing import Result

from erm.data.npz import load_npz
from erm.fit import NewtonFit
from erm.models import logistic
from erm.softmax import SoftmaxRisk
from retrain.ground_truth import ground_truth
from retrain.removal import leave_one_out
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache
from tests.command_line import repro
from tests.problems import solve_missing

pytestmark = pytest.mark.figures

SLACK = 1e-12
"""Rounding of a difference of two losses of size 1."""


def problem(
    n: int, d: int, num_classes: int, scale: float, seed: int, duplicated: bool, constant: bool, missing: bool
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file; if asked for, with equal examples, a constant feature, an absent class."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)) * scale, rng.integers(0, num_classes, size=n)
    if duplicated:
        x[1::2], y[1::2] = x[0], y[0]
    if constant:
        x[:, 0] = scale
    if missing:
        y[y == num_classes - 1] = 0
    return {
        "x_train": x,
        "y_train": y,
        "x_test": rng.normal(size=(2, d)) * scale,
        "y_test": np.array([0, num_classes - 1]),
    }


def peers_weights(risk: SoftmaxRisk) -> torch.Tensor:
    """The minimiser as scikit-learn finds it, or scipy where a class is missing, which scikit-learn drops."""
    x, y = risk.x.numpy(), risk.y.numpy()
    if len(np.unique(y)) == risk.num_classes > 2:
        model = LogisticRegression(
            C=1 / (risk.l2 * len(x)), fit_intercept=False, solver="newton-cg", tol=1e-12, max_iter=1000
        )
        with warnings.catch_warnings():
            # Where rounding ends its search, its gradient says below how far off that was.
            warnings.simplefilter("ignore")
            return torch.from_numpy(model.fit(x, y).coef_.flatten())

    def value_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = risk.value_and_gradient(torch.from_numpy(theta))
        return float(value), gradient.numpy()

    start = np.zeros(risk.num_parameters)
    found = minimize(value_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-11})
    return torch.from_numpy(np.asarray(found.x))


def distance_to_minimiser(risk: SoftmaxRisk, theta: torch.Tensor) -> float:
    """At most ‖∇R(θ)‖/λ."""
    return float(risk.gradient(theta).norm()) / risk.l2


@settings(max_examples=16, deadline=None, derandomize=True)
@given(
    n=st.integers(2, 12),
    d=st.integers(1, 4),
    num_classes=st.integers(2, 4),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 30.0, 1e3]),
    l2=st.sampled_from([1e-4, 1e-2, 1.0, 1e3]),
    seed=st.integers(0, 10**6),
    duplicated=st.booleans(),
    constant=st.booleans(),
    missing=st.booleans(),
)
@example(n=2, d=1, num_classes=2, scale=1.0, l2=0.01, seed=0, duplicated=True, constant=True, missing=True)
@example(n=2, d=3, num_classes=4, scale=1e6, l2=0.01, seed=1, duplicated=False, constant=False, missing=False)
@example(n=9, d=3, num_classes=3, scale=1e6, l2=1e-2, seed=2, duplicated=False, constant=True, missing=False)
@example(n=9, d=2, num_classes=3, scale=1.0, l2=1e-8, seed=3, duplicated=False, constant=False, missing=False)
def test_the_truth_lies_within_the_certificate(
    n: int, d: int, num_classes: int, scale: float, l2: float, seed: int,
    duplicated: bool, constant: bool, missing: bool,
) -> None:  # fmt: skip
    arrays = problem(n, d, num_classes, scale, seed, duplicated, constant, missing)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.npz"
        np.savez(path, allow_pickle=False, **arrays)
        dataset = load_npz(path=path)
        risk = logistic(dataset, l2=l2, bias=False, dtype=torch.float64, device=torch.device("cpu"))
        theta = NewtonFit()(risk).theta
        cache = WeightCache(Path(folder) / "weights", "key", pytest.fail)
        solve_missing(risk, theta, leave_one_out(range(n)), cache, RetrainSettings(), lambda _: None)
        x_test, y_test = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
        truth = ground_truth(risk, theta, cache.parts(leave_one_out(range(n))), x_test, y_test)
    assert truth.points.tolist() == list(range(n))
    lengths = np.sqrt(2) * np.linalg.norm(dataset.x_test, axis=1)
    whole = peers_weights(risk)
    slack = lengths * distance_to_minimiser(risk, whole)
    for index in range(n):
        rest = risk.subset(torch.tensor([row for row in range(n) if row != index]))
        peer = peers_weights(rest)
        change = (rest.losses(peer, x_test, y_test) - risk.losses(whole, x_test, y_test)).numpy()
        # How far the peer itself may be off, by the same strong convexity.
        own = slack + lengths * distance_to_minimiser(rest, peer) + SLACK * (1 + np.abs(change))
        error = np.abs(truth.actual_change[:, index] - change)
        assert (error <= truth.bound[:, index] + own).all()
        assert np.isfinite(truth.bound[:, index]).all()
        if scale <= 1 and l2 >= 1e-2:
            # The bound is tight enough to be of use.
            assert truth.bound[:, index].max() <= 1e-5


def arrays_like(**changed: np.ndarray) -> dict[str, np.ndarray]:
    return problem(8, 3, 3, 1.0, 0, False, False, False) | changed


X = arrays_like()["x_train"]
WITH_NAN = np.where(np.arange(24).reshape(8, 3) == 5, np.nan, X)
REFUSED = {
    "NaN": (arrays_like(x_train=WITH_NAN), "remove or impute"),
    "infinity": (arrays_like(x_train=np.nan_to_num(WITH_NAN, nan=np.inf)), "remove or impute"),
    "one example": (arrays_like(x_train=X[:1], y_train=np.array([0])), "too few"),
    "squares that overflow": (arrays_like(x_train=1e160 * X), "scale it down"),
    "a billion classes": (arrays_like(y_train=np.full(8, 10**9)), "classes"),
}
SOLVED = {
    "n < K": arrays_like(x_train=X[:2], y_train=np.array([0, 1])),
    "one class of three": arrays_like(y_train=np.zeros(8, dtype=int)),
    "features that are all 0": arrays_like(x_train=np.zeros((8, 3))),
    "constant features": arrays_like(x_train=np.ones((8, 3))),
    "duplicated examples": arrays_like(x_train=np.ones((8, 3)), y_train=np.zeros(8, dtype=int)),
}
EITHER = {
    "features at 1e6": arrays_like(x_train=1e6 * X),
    "features at 1e150": arrays_like(x_train=1e150 * X),
    "features whose squares vanish": arrays_like(x_train=1e-160 * X),
}


def run(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Result:
    """All stages on these arrays; no traceback, and no number that is none, however it ends."""
    np.savez(tmp_path / "mine.npz", allow_pickle=False, **arrays)
    where = (f"data.path={tmp_path}/mine.npz", f"output_dir={tmp_path}/run")
    methods = ("--method", "cg", "--method", "exact")
    result = repro("run", *methods, "data=npz", *where, "test_index=0", "top_k=2", "plot.formats=[png]")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "nan" not in result.stdout
    return result


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_mean_nothing_are_refused(tmp_path: Path, name: str) -> None:
    arrays, said = REFUSED[name]
    result = run(tmp_path, arrays)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("name", SOLVED)
def test_degenerate_data_are_solved(tmp_path: Path, name: str) -> None:
    result = run(tmp_path, SOLVED[name])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "run" / "leave_one_out.csv")
    assert (table["certificate"] < 1e-5).all()


@pytest.mark.parametrize("name", EITHER)
def test_numbers_at_the_edge_are_solved_or_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    result = run(tmp_path, EITHER[name])
    assert result.exit_code in (0, 1, 2)
    if result.exit_code:
        # Every stage says that it has begun; what is left is the reason.
        said = [line for line in result.stderr.splitlines() if not line.endswith(": started")]
        assert said[0].startswith(("error:", "warning:"))
        assert len(" ".join(said)) > 60
