"""Are the retrained models known well enough to judge by? The one judge of the page and of `diagnose`."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diagnosis.limits import UNDECIDED
from diagnosis.verdict import Verdict
from plots.numbers import format_number, format_times


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The actual changes of the points that the figure shows, each point once, and what vouches for them."""

    actual: Float[np.ndarray, " k"]
    certificate: Float[np.ndarray, " k"]
    """Bounds on their errors."""
    null_control: float
    """The change that is found when nothing is removed, which should be 0."""
    null_certificate: float
    """The bound on its error."""
    models: int
    missed: int
    """Models whose gradient norm is above the tolerance."""


def judge_truth(truth: Truth) -> tuple[Verdict, ...]:
    """Effects against certificates, gradient norms against the tolerance, the null control against 0."""
    return (_judge_signal(truth), _judge_gradient_norms(truth), _judge_null_control(truth))


def _judge_signal(truth: Truth) -> Verdict:
    sizes = np.abs(truth.actual)
    # Written so that NaN counts as undecided.
    undecided = int((~(sizes > truth.certificate)).sum())
    largest, typical = (
        float(truth.certificate.max(initial=0.0)),
        float(np.median(sizes)) if len(sizes) else 0.0,
    )
    room = (
        f", {format_times(typical / largest)} less than the typical change" if typical > largest > 0 else ""
    )
    passed: bool | None = undecided <= UNDECIDED * len(sizes)
    words = f"every actual change is known to within {format_number(largest)}{room}"
    if not sizes.any():
        passed, words = None, "leaving out these points changes nothing, so there is nothing to see"
    elif undecided:
        words += f"; {undecided} of {len(sizes)} are too small to be told from 0"
    return Verdict(
        check="signal",
        value=format_number(largest),
        passed=passed,
        evidence=words,
        numbers={
            "points": len(sizes),
            "undecided": undecided,
            "largest_certificate": largest,
            "smallest_effect": float(sizes.min(initial=np.inf)) if len(sizes) else None,
        },
    )


def _judge_gradient_norms(truth: Truth) -> Verdict:
    return Verdict(
        check="gradient norms",
        value=str(truth.missed),
        passed=truth.missed == 0,
        evidence=f"all {truth.models:,} retrained models reached their tolerance"
        if truth.missed == 0
        else f"{truth.missed:,} of {truth.models:,} retrained models missed their tolerance",
        remedy=""
        if truth.missed == 0
        else "raise retrain.tolerance, which the certificates follow, or model.l2",
        numbers={"models": truth.models, "missed": truth.missed},
    )


def _judge_null_control(truth: Truth) -> Verdict:
    return Verdict(
        check="null control",
        value=format_number(truth.null_control),
        passed=abs(truth.null_control) <= truth.null_certificate,
        evidence=f"retraining with nothing removed changes the loss by {format_number(truth.null_control)}, "
        f"its certificate being {format_number(truth.null_certificate)}",
        numbers={"null_control": truth.null_control, "null_certificate": truth.null_certificate},
    )
