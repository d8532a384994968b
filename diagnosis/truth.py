"""Are the retrained models known well enough to judge by? The one judge of the page and of `diagnose`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from diagnosis.limits import UNDECIDED
from diagnosis.verdict import Verdict
from plots.numbers import format_number, format_times

FINEST = 1e-12
"""Below this a gradient norm is rounding on most problems, and a tolerance cannot be reached."""


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """What is known of the retrained models of a figure beside its table."""

    null_control: float
    """The change of this test loss that is found when nothing is removed, which should be 0."""
    null_certificate: float
    """The bound on its error."""
    models: int
    missed: int
    """Models whose gradient norm is above the tolerance."""
    amplification: Mapping[int, float] = field(default_factory=dict)
    """What `retrain.leverage.amplification` found, by training point; 1 where there is nothing."""


@dataclass(frozen=True, kw_only=True)
class Truth(Retrained):
    """The actual changes of what the figure shows, each removal once, and what vouches for them."""

    actual: Float[np.ndarray, " k"]
    certificate: Float[np.ndarray, " k"]
    """Bounds on their errors."""
    margin: float | None = None
    """Where certificates are local: how many times faster than measured the Hessian may change."""
    others: Mapping[str, int] = field(default_factory=dict)
    """There, how many models are not θ̂'s own minimum, by label."""
    quadratic: bool = False
    """Whether the models are those of the quadratic around θ̂."""

    @property
    def uncertified(self) -> bool:
        """Whether the models are where training went on to, and nothing vouches for any."""
        return bool(len(self.certificate) and np.isinf(self.certificate).all())


def judge_truth(truth: Truth) -> tuple[Verdict, ...]:
    """Effects against certificates, gradient norms against the tolerance, the null control against 0."""
    if truth.uncertified:
        return (_judge_uncertified(truth),)
    found = (_judge_signal(truth), _judge_gradient_norms(truth), _judge_null_control(truth))
    return found if truth.margin is None else (*found, _judge_basins(truth))


def _judge_uncertified(truth: Truth) -> Verdict:
    """Models that are where training stopped: the null control says what that changes without any removal."""
    typical = float(np.median(np.abs(truth.actual)))
    share = abs(truth.null_control) / typical if typical else np.inf
    return Verdict(
        check="truth",
        value=format_number(truth.null_control),
        passed=False,
        evidence="the retrained models are no minima, and no actual change has a certificate: training on "
        f"with nothing removed changes the loss by {format_number(truth.null_control)}, "
        f"{format_number(share)} times the typical change, {format_number(typical)}",
        remedy="retrain to a gradient norm, not for a number of steps: fit=local retrain=default",
        numbers={"null_control": truth.null_control, "models": truth.models},
    )


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
    if truth.margin is not None:
        words += (
            ", by local certificates: they hold unless the Hessian changes "
            f"{format_number(truth.margin)} times faster than measured"
        )
    if truth.quadratic:
        words += "; the truth is that of the quadratic around θ̂, and certificates are of its arithmetic"
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


def _judge_basins(truth: Truth) -> Verdict:
    """Influence speaks of the minimum that θ̂ becomes; models that are another are in no statistic."""
    count, others = len(truth.actual), sum(truth.others.values())
    said = ", ".join(f"{number:,} {label}" for label, number in truth.others.items() if number)
    return Verdict(
        check="basins",
        value=str(others),
        passed=others <= UNDECIDED * count,
        evidence=f"all {count:,} models are the minimum that θ̂ becomes"
        if not others
        else f"{count - others:,} of {count:,} models are the minimum that θ̂ becomes ({said}), and the "
        "methods are judged by these",
        remedy="" if not others else "more model.l2 keeps models in the basin of θ̂",
        numbers={"points": count, **{f"basin_{name}": number for name, number in truth.others.items()}},
    )


def tolerance_that_tells(
    actual: Float[np.ndarray, " k"],
    certificate: Float[np.ndarray, " k"],
    gradient_norm: Float[np.ndarray, " k"],
    certificate_per_norm: float,
) -> float | None:
    """The largest power of ten at which enough effects exceed their certificates for a figure to be judged.

    A certificate is certificate_per_norm · ‖∇R₋ᵢ‖ and a rest of rounding and of θ̂, which stays.

    Args:
        actual: actual changes.
        certificate: bounds on their errors.
        gradient_norm: ‖∇R₋ᵢ‖ of their models.
        certificate_per_norm: √2‖x_test‖/λ.

    Returns:
        The tolerance; None where the rest alone hides the effects, or only one below `FINEST` would do.
    """
    if not 0 < certificate_per_norm < math.inf or not len(actual):
        return None
    rest = certificate - certificate_per_norm * gradient_norm
    room = np.sort((np.abs(actual) - rest) / certificate_per_norm)
    # Half of it, because an effect must exceed its certificate; the allowed share may stay undecided.
    wanted = float(room[math.floor(UNDECIDED * len(room))]) / 2
    if not wanted >= FINEST:
        return None
    return float(f"1e{math.floor(math.log10(wanted))}")
