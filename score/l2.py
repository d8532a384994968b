"""Is L2 where it belongs: in the training gradients, and not in the test gradient?

Σᵢ ∇L(zᵢ, θ̂) = n∇R(θ̂) = 0, so scores s_testᵀ∇L(zᵢ)/n add up to 0 whatever s_test is. Without L2 in the
training gradient all are off by −λs_testᵀθ̂/n, and so is their mean. L2 in the test gradient adds
λθ̂ᵀH⁻¹∇L(zᵢ)/n to them, the same for every test point. Both are smaller than what linearisation errs by, so
they are looked for against an exact solution of the same problem where there is one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from score import faults
from score.faults import Fault
from score.rows import pooled_correlation
from score.truth import L2Terms, PointTruth, Truth

T_LEAST = 6.0
"""Standard errors by which a constant has to differ from 0."""
CONSTANTS_AGREE = (0.6, 1.6)
"""Mean of all scores over the shift of the fitted line, where there is no exact solution to compare with."""
WORTH_ASKING = 0.3
"""Relative distance from the exact solution beyond which L2 in the test gradient could not be seen."""
EXACT = 1e-6
"""Relative distance from the exact solution below which nothing is left to explain."""
EXPLAINED = 0.5
"""Share of what is left that L2 in the test gradient has to explain."""
COEFFICIENT = (0.6, 1.6)
"""Of that term: 1 if L2 is in the test gradient."""
SEES_L2 = 0.98
"""Correlation with the truth below which L2 could not be seen."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """Scores against an exact solution: scores = factor · (exact + constant) + the rest."""

    constant: float
    t: float
    """The constant over its standard error."""
    relative: float
    """‖rest‖ over ‖scores − constant‖."""


def against_reference(
    x: Float[np.ndarray, " N"],
    reference: Float[np.ndarray, " N"],
    extra: Float[np.ndarray, " N"] | None = None,
) -> Against:
    """Fit scores by an exact solution, a constant, and perhaps another term; least squares."""
    scale = float(np.abs(reference).max()) or 1.0
    columns = [reference / scale, np.ones_like(x), *([] if extra is None else [extra / scale])]
    found, rest = _fit(x, columns)
    error = _standard_error(rest, len(columns))
    spread = float(np.linalg.norm(x - found[1])) or 1.0
    rounding = 1e-7 * spread / np.sqrt(len(x))
    factor = found[0] / scale
    return Against(
        constant=float(found[1] / factor) if factor else 0.0,
        t=float(abs(found[1]) / (error + rounding)),
        relative=float(np.linalg.norm(rest)) / spread,
    )


def has_test_l2(
    x: Float[np.ndarray, " N"], reference: Float[np.ndarray, " N"], term: Float[np.ndarray, " N"]
) -> bool:
    """Whether L2 in the test gradient explains most of what the exact solution leaves."""
    scale = float(np.abs(reference).max()) or 1.0
    columns = [reference / scale, np.ones_like(x)]
    _, without = _fit(x, columns)
    found, left = _fit(x, [*columns, term / scale])
    before, after = float(without @ without), float(left @ left)
    if before == 0 or found[0] == 0:
        return False
    coefficient = float(found[2] / found[0])
    return 1 - after / before >= EXPLAINED and COEFFICIENT[0] <= coefficient <= COEFFICIENT[1]


def constant_by_truth(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], all_scores: Float[np.ndarray, " N"]
) -> float | None:
    """The constant of scores x of the left-out points, in their own unit; None where none is certain.

    The fitted line and the mean of all scores, which ought to be 0, have to agree on it.
    """
    if np.ptp(x) == 0:
        return None
    found, rest = _fit(x, [y / np.abs(y).max(), np.ones_like(y)])
    mean = float(all_scores.mean())
    if abs(found[1]) <= T_LEAST * _standard_error(rest, 2) or mean == 0:
        return None
    inside = CONSTANTS_AGREE[0] <= mean / found[1] <= CONSTANTS_AGREE[1]
    return mean if inside else None


def _fit(
    x: Float[np.ndarray, " N"], columns: Sequence[Float[np.ndarray, " N"]]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " N"]]:
    """Coefficients of the least-squares fit of x by columns, and what it leaves of x."""
    design = np.stack(columns, axis=1)
    found, *_ = np.linalg.lstsq(design, x, rcond=None)
    return found, x - design @ found


def _standard_error(rest: Float[np.ndarray, " N"], num_columns: int) -> float:
    """Of a fitted constant."""
    freedom = max(1, len(rest) - num_columns)
    return float(np.linalg.norm(rest)) / math.sqrt(freedom * len(rest))


def mend_l2(
    scores: list[Float[np.ndarray, " _"]],
    every: Sequence[Float[np.ndarray, " _"]],
    truths: Sequence[PointTruth],
    targets: Sequence[int],
    truth: Truth,
) -> tuple[list[Fault], Sequence[Float[np.ndarray, " _"]]]:
    """Whether L2 is missing from the training gradient or in the test gradient; all scores without that."""
    if pooled_correlation(scores, truths) < SEES_L2:
        return [], every
    terms = truth.l2_terms()
    known = None if terms is None else [terms.reference.get(target) for target in targets]
    references = [one for one in known or [] if one is not None]
    # A damaged file may have an exact solution of another number of training points.
    if terms is None or [len(one) for one in references] != [len(row) for row in every]:
        return _by_truth(scores, every, truths)
    return _by_reference(every, truths, references, terms)


def _by_truth(
    scores: list[Float[np.ndarray, " _"]],
    every: Sequence[Float[np.ndarray, " _"]],
    truths: Sequence[PointTruth],
) -> tuple[list[Fault], Sequence[Float[np.ndarray, " _"]]]:
    found = [
        constant_by_truth(x, point.actual_change, row[np.isfinite(row)])
        for x, point, row in zip(scores, truths, every, strict=True)
    ]
    constants = [one for one in found if one is not None]
    if 2 * len(constants) <= len(found):
        return [], every
    return [faults.L2_TRAIN], [row - (one or 0.0) for row, one in zip(every, found, strict=True)]


def _by_reference(
    every: Sequence[Float[np.ndarray, " _"]],
    truths: Sequence[PointTruth],
    references: Sequence[Float[np.ndarray, " _"]],
    terms: L2Terms,
) -> tuple[list[Fault], Sequence[Float[np.ndarray, " _"]]]:
    inside = [np.isfinite(row) for row in every]
    pairs = [(row[at], ref[at]) for row, ref, at in zip(every, references, inside, strict=True)]
    plain = [against_reference(x, reference) for x, reference in pairs]
    term: Float[np.ndarray, " _"] | None = None
    if all(EXACT < one.relative < WORTH_ASKING for one in plain):
        term = _term_that_explains(pairs, inside, terms)
    if term is not None:
        plain = [against_reference(x, ref, term[at]) for (x, ref), at in zip(pairs, inside, strict=True)]
    found = [] if term is None else [faults.L2_TEST]
    constants = [0.0] * len(plain)
    if sum(one.t > T_LEAST for one in plain) * 2 > len(plain):
        found = [faults.L2_TRAIN, *found]
        constants = [one.constant for one in plain]
    extra = 0.0 if term is None else term
    return found, [row - constant - extra for row, constant in zip(every, constants, strict=True)]


def _term_that_explains(
    pairs: Sequence[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]],
    inside: Sequence[Bool[np.ndarray, " _"]],
    terms: L2Terms,
) -> Float[np.ndarray, " _"] | None:
    """λθ̂ᵀH⁻¹∇L(zᵢ)/n where it explains what the exact solution leaves."""
    term = terms.of_test_gradient()
    if term is None or any(len(term) != len(at) for at in inside):
        return None
    explains = all(has_test_l2(x, ref, term[at]) for (x, ref), at in zip(pairs, inside, strict=True))
    return term if explains else None
