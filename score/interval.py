"""How far a statistic can move while every actual change moves within its certificate: proven enclosures.

x are predictions, y actual changes, e ≥ 0 their certificates: the truth is some y' with |y'ᵢ − yᵢ| ≤ eᵢ.
Every function encloses its statistic over all such y'. Lines and errors are linear in y, so their intervals
are exact; those of correlations and overlaps may be wider than what y' can reach, never narrower.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

ROUNDING = 1e-12
"""What rounding may add to a correlation, and relatively to any other statistic."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic of the actual changes as they are known, and between what it lies for certain; NaN where it
    is undefined."""

    value: float
    low: float
    high: float


def signed(value: float, form: str) -> str:
    """A figure with a true minus, not a hyphen; that of an exponent stays."""
    return ("−" if value < 0 else "") + format(abs(value), form)


UNDEFINED = Interval(math.nan, math.nan, math.nan)


def pearson_interval(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], e: Float[np.ndarray, " m"]
) -> Interval:
    """Pearson's r of x and y'.

    With u the centred x over its length, r = cos φ, φ the angle between u and the centred y. Centring is a
    projection, so the centred y' lies within ρ = ‖e‖ of the centred y, and the angle between the two is at
    most arcsin(ρ/‖y_c‖). A second enclosure divides the interval of u·y', whose radius is Σ|uᵢ|eᵢ, by that
    of the length. The interval is the intersection of both.
    """
    u, centred = x - x.mean(), y - y.mean()
    length, norm = float(np.linalg.norm(u)), float(np.linalg.norm(centred))
    if not _varies(x) or not _varies(y):
        return UNDEFINED
    u = u / length
    dot = float(u @ centred)
    value, radius = _clip(dot / norm), float(np.linalg.norm(e))
    if not radius < norm:
        return Interval(value, -1.0, 1.0)
    # The arctangent keeps its digits where r is near 1, the arccosine loses half of them.
    angle, turn = math.atan2(float(np.linalg.norm(centred - dot * u)), dot), math.asin(radius / norm)
    by_angle = math.cos(min(math.pi, angle + turn)), math.cos(max(0.0, angle - turn))
    move = float(np.abs(u) @ e)
    ends = [(dot + sign * move) / (norm + side * radius) for sign in (-1, 1) for side in (-1, 1)]
    low, high = max(by_angle[0], min(ends)), min(by_angle[1], max(ends))
    return Interval(value, _clip(min(value, low) - ROUNDING), _clip(max(value, high) + ROUNDING))


def spearman_interval(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], e: Float[np.ndarray, " m"]
) -> Interval:
    """Spearman's r of x and y': Pearson's of their ranks, which move as far as certificates let points
    overtake each other."""
    if not _varies(x) or not _varies(y):
        return UNDEFINED
    places = ranks(y)
    lows, highs = np.sort(y - e), np.sort(y + e)
    first = np.searchsorted(highs, y - e, side="left") + 1.0
    last = np.searchsorted(lows, y + e, side="right").astype(np.float64)
    reach = np.maximum(places - first, last - places).clip(min=0.0)
    return pearson_interval(ranks(x), places, reach)


def ranks(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """From 1 up; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


def line_intervals(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], e: Float[np.ndarray, " m"]
) -> tuple[Interval, Interval]:
    """Slope and intercept of the least-squares line y' = slope · x + intercept; both are linear in y'."""
    if not _varies(x):
        return UNDEFINED, UNDEFINED
    scale = float(np.abs(x).max())
    scaled = x / scale
    centred = scaled - scaled.mean()
    of_slope = centred / float(centred @ centred)
    of_intercept = 1 / len(x) - float(scaled.mean()) * of_slope
    return _linear(of_slope / scale, y, e), _linear(of_intercept, y, e)


def largest_error_interval(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], e: Float[np.ndarray, " m"]
) -> Interval:
    """max |y' − x|: exact, because every error moves by itself."""
    error = np.abs(y - x)
    low, high = float((error - e).clip(min=0.0).max()), float((error + e).max())
    return Interval(float(error.max()), low * (1 - ROUNDING), high * (1 + ROUNDING))


def overlap_interval(
    x: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], e: Float[np.ndarray, " m"], k: int
) -> Interval:
    """Share of the k largest |y'| that are among the k largest |x|.

    A point is surely among the k of |y'| if fewer than k others can reach it, and cannot be if k others are
    surely above it.
    """
    top = _top(np.abs(x), k)
    low, high = (np.abs(y) - e).clip(min=0.0), np.abs(y) + e
    # Of those that can reach a point, one is the point itself.
    reaching = len(y) - np.searchsorted(np.sort(high), low, side="left") - 1
    above = len(y) - np.searchsorted(np.sort(low), high, side="right")
    sure, possible = reaching < k, above < k
    least = max(int((sure & top).sum()), k - int((possible & ~top).sum()))
    most = min(k, int((possible & top).sum()), k - int((sure & ~top).sum()))
    value = int((_top(np.abs(y), k) & top).sum())
    return Interval(value / k, max(0, least) / k, most / k)


def _top(sizes: Float[np.ndarray, " m"], k: int) -> np.ndarray:
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[np.argsort(-sizes, kind="stable")[:k]] = True
    return chosen


def _linear(
    weights: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"], e: Float[np.ndarray, " m"]
) -> Interval:
    value = float(weights @ y)
    radius = float(np.abs(weights) @ e) + ROUNDING * float(np.abs(weights) @ np.abs(y))
    return Interval(value, value - radius, value + radius)


def _varies(values: Float[np.ndarray, " m"]) -> bool:
    return float(np.ptp(values)) > ROUNDING * float(np.abs(values).max())


def _clip(r: float) -> float:
    return min(1.0, max(-1.0, r))
