"""The mathematics without files and configuration: a risk of one's own, tensors in, tensors out.

    risk = softmax_regression(x, y, l2=0.01)                   # or AutogradRisk(module=…, x=x, y=y, l2=0.01)
    theta = fit(risk).theta
    predicted = influence(risk, theta, x_test, y_test)
    actual = leave_out(risk, theta, [[i] for i in range(100)], x_test, y_test)
    better = newton_step(risk, theta, [[i] for i in range(100)], x_test, y_test)

All tensors are float64, on one device. `AutogradRisk` takes any `nn.Module` that gives logits; `leave_out`,
`certify` and `newton_step` need softmax regression, whose strong convexity the certificate is made of.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.fit import Fit, NewtonFit
from erm.local_fit import LocalFit
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk, with_bias
from influence.cg import CG
from influence.scores import influence_scores
from influence.solution import Solver
from retrain.certified_softmax import CertifiedSoftmax
from retrain.certify import certified_changes
from retrain.changes import Changes
from retrain.removal import Removal, removal
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache


@dataclass(frozen=True, kw_only=True)
class CertifiedChanges:
    """ℓ(z_test, θ̂₋S) − ℓ(z_test, θ̂), cross-entropy alone, in the order of the removals asked for."""

    removals: tuple[Removal, ...]
    actual_change: Float[Tensor, "t B"]
    certificate: Float[Tensor, "t B"]
    """Proven bound on the error of each."""


def softmax_regression(
    x: Float[Tensor, "n features"], y: Int[Tensor, " n"], *, l2: float, bias: bool = False
) -> SoftmaxRisk:
    """Mean cross-entropy of softmax(W x) plus (l2/2)‖W‖², in float64.

    Args:
        x: training features.
        y: labels, 0 … K − 1.
        l2: λ, on all parameters.
        bias: add a feature that is always 1, regularised like the others.
    """
    features = with_bias(x.double(), bias)
    return SoftmaxRisk(x=features, y=y, num_classes=int(y.max()) + 1, l2=l2, bias=bias)


def fit(risk: EmpiricalRisk, *, tolerance: float = 1e-10) -> Fit:
    """The minimiser of a risk: `Fit.theta`, with ‖∇R(θ̂)‖ in `Fit.gradient_norm`.

    Of a risk that is not known to be convex it is a local minimum, and λ_min of H there is
    `Fit.smallest_eigenvalue`.

    Args:
        risk: to be minimised, from its own initial parameters.
        tolerance: ‖∇R(θ̂)‖₂ to reach; `Fit.converged` says whether it did.
    """
    convex = risk.curvature(risk.initial_parameters()).convex
    return (NewtonFit if convex else LocalFit)(tolerance=tolerance)(risk)


def influence(
    risk: EmpiricalRisk,
    theta: Float[Tensor, " p"],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
    *,
    solver: Solver | None = None,
) -> Float[Tensor, "t n"]:
    """Predicted change of each test loss when a training example is removed: −I_up,loss/n.

    Args:
        risk: over the n training examples.
        theta: θ̂.
        x_test: test examples, without bias column.
        y_test: their labels.
        solver: of (H + damping·I) s = ∇ℓ; conjugate gradient when None.

    Raises:
        ValueError: the solver failed; the message says why, and what to do.
    """
    solve = (solver or CG()).at(risk.curvature(theta))
    gradients = risk.loss_gradient(theta, x_test, y_test)
    return torch.stack([influence_scores(risk, theta, solve(v)).predicted_change for v in gradients])


def leave_out(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    removals: Iterable[Iterable[int]],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
    *,
    tolerance: float = 1e-9,
    folder: str | Path | None = None,
) -> CertifiedChanges:
    """Retrain without each group of training rows, and read the changes of the test losses off the models.

    Args:
        risk: over all n training examples, l2 > 0.
        theta: its minimiser θ̂.
        removals: the rows that each model is fitted without.
        x_test: test examples, without bias column.
        y_test: their labels.
        tolerance: ‖∇R₋S‖₂ that every model is solved to.
        folder: keeps the models, so that the same call, or one with other test points, solves only what is
            missing; None keeps none.

    Raises:
        ValueError: a row is none, or named twice, or nothing is left; or l2 is 0.
    """
    wanted = [removal(rows, risk.num_examples) for rows in removals]
    place = tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder))
    with place as path:
        cache = WeightCache(Path(path), _key(risk, theta), lambda line: None)
        settings = RetrainSettings(tolerance=tolerance)
        retrainer = CertifiedSoftmax(risk=risk, theta=theta, cache=cache, settings=settings)
        retrainer.solve(wanted, lambda progress: None)
        return in_order(retrainer.changes(x_test, y_test, wanted), wanted, theta)


def certify(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    candidates: Float[Tensor, "B p"],
    removals: Sequence[Iterable[int]],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
) -> CertifiedChanges:
    """The same at parameters of your own, whatever they were found by: how wrong can the test losses be?

    Args:
        risk: over all n training examples, l2 > 0.
        theta: its minimiser θ̂.
        candidates: parameters that you say minimise R₋S, one row for each removal.
        removals: the rows that each is to be fitted without.
        x_test: test examples, without bias column.
        y_test: their labels.

    Raises:
        ValueError: a row is none, or named twice, or nothing is left; a candidate is missing or not finite.
    """
    wanted = different(removals, risk.num_examples)
    found, _ = certified_changes(risk, theta, candidates, wanted, x_test, y_test)
    return in_order(found, wanted, theta)


def different(removals: Sequence[Iterable[int]], num_examples: int) -> list[Removal]:
    """Removals in their order; ValueError where one is named twice."""
    wanted = [removal(rows, num_examples) for rows in removals]
    if len(set(wanted)) < len(wanted):
        raise ValueError("a removal is named twice: pass each once")
    return wanted


def in_order(found: Changes, wanted: Sequence[Removal], like: Tensor) -> CertifiedChanges:
    """The changes of removals in the order in which they were asked for."""
    column_of = {rows: column for column, rows in enumerate(found.removals)}
    columns = [column_of[rows] for rows in wanted]
    return CertifiedChanges(
        removals=tuple(wanted),
        actual_change=torch.from_numpy(found.actual_change[:, columns]).to(like),
        certificate=torch.from_numpy(found.bound[:, columns]).to(like),
    )


def _key(risk: SoftmaxRisk, theta: Float[Tensor, " p"]) -> str:
    """Names θ̂ and the examples that it was fitted to."""
    digest = hashlib.sha256(f"{risk.l2}".encode())
    for tensor in (theta, risk.x, risk.y):
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
