"""Newton steps and rescaled influence without files and configuration: tensors in, tensors out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from erm.softmax import SoftmaxRisk
from influence.estimator import ParameterPredictor
from influence.newton_step import NewtonStep
from influence.rif import RescaledInfluence
from repro.functions import different, in_order
from retrain.certify import certified_changes
from retrain.removal import Removal, removal
from retrain.settings import L2Scaling


@dataclass(frozen=True, kw_only=True)
class CertifiedPredictions:
    """What `newton_step` predicts of each removal, in the order asked for."""

    removals: tuple[Removal, ...]
    predicted_change: Float[Tensor, "t B"]
    certificate: Float[Tensor, "t B"]
    """Proven bound on |predicted − true change|."""
    parameters: Float[Tensor, "B p"]
    """θ̂ + Δ, where the prediction is the test loss, but for its correction."""


def newton_step(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    removals: Sequence[Iterable[int]],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
    *,
    l2_scaling: L2Scaling = "mean",
    correction: Literal["none", "adjoint"] = "adjoint",
) -> CertifiedPredictions:
    """The change of each test loss that one exact Newton step on R₋S predicts, certified without retraining.

    Args:
        risk: over all n training examples, l2 > 0.
        theta: its minimiser θ̂.
        removals: the rows that each model is to be without, every one different.
        x_test: test examples, without bias column.
        y_test: their labels.
        l2_scaling: "mean": a removal keeps λ; "sum": it keeps n·λ.
        correction: "adjoint": less what the step leaves of the gradient, to first order; "none": the test
            loss at θ̂ + Δ and nothing else.

    Raises:
        ValueError: a row is none, or named twice, or nothing is left; or l2 is 0.
        NotDefiniteError: a Hessian is singular up to rounding.
    """
    wanted = different(removals, risk.num_examples)
    predictor = NewtonStep(correction=correction).at_fit(risk, theta, risk.curvature(theta))
    return certified_steps(predictor, risk, theta, wanted, x_test, y_test, scales_l2=l2_scaling == "sum")


def certified_steps(
    predictor: ParameterPredictor,
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    removals: Sequence[Removal],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
    *,
    scales_l2: bool,
) -> CertifiedPredictions:
    """What a prepared method predicts of removals, certified by one gradient each.

    The certificate is of the test loss at θ̂ + Δ. What the method adds to that may be wrong altogether, so the
    certificate of the sum is wider by its size, and by one rounding.

    Args:
        predictor: prepared at θ̂.
        removals: every one different.
        scales_l2: whether those of several rows keep n·λ instead of λ.

    Others as of `newton_step`.
    """
    steps = predictor.steps(removals, scales_l2=scales_l2)
    changes, gradients = certified_changes(
        risk, theta, theta + steps, removals, x_test, y_test, scales_l2=scales_l2
    )
    found = in_order(changes, removals, theta)
    added = predictor.corrections(steps, gradients, x_test, y_test)
    stated, widened = found.actual_change + added, found.certificate + added.abs()
    rounding = 2 * torch.finfo(added.dtype).eps * (found.actual_change.abs() + widened)
    return CertifiedPredictions(
        removals=found.removals,
        predicted_change=stated,
        certificate=torch.where(added == 0, found.certificate, widened + rounding),
        parameters=theta + steps,
    )


def rescaled_influence(
    risk: SoftmaxRisk,
    theta: Float[Tensor, " p"],
    removals: Sequence[Iterable[int]],
    x_test: Float[Tensor, "t features"],
    y_test: Int[Tensor, " t"],
    *,
    l2_scaling: L2Scaling = "mean",
) -> Float[Tensor, "t B"]:
    """The same by rescaled influence: no parameters, so no certificate. Arguments as of `newton_step`.

    Raises:
        ValueError: as of `newton_step`.
    """
    wanted = [removal(rows, risk.num_examples) for rows in removals]
    predictor = RescaledInfluence().at_fit(risk, theta, risk.curvature(theta))
    return predictor.groups(wanted, x_test, y_test, scales_l2=l2_scaling == "sum")
