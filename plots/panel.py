"""One panel: a method's predicted changes against the actual ones, for one test point."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plots.agreement import Agreement
from plots.limits import Limits, tick
from plots.numbers import format_r, format_slope
from plots.points import Points
from plots.style import BLUE, DARK, NOTE_SIZE, VERMILLION, Style, minus

POINTS_PER_INCH = 72
MAX_VECTORS = 5000
"""With more points than so many a PDF draws them as pixels, as paths would be megabytes of it."""
CORNER = 0.84, 0.48
"""Width and height of the statistics, in half panels."""
MAX_DECIMALS = 3
"""Of a tick's label; what needs more has an exponent."""
FITTED: dict[str, Any] = {"color": DARK, "linewidth": 0.9, "linestyle": (0, (4, 3)), "zorder": 3.5}
OUTSIDE: dict[str, Any] = {"color": VERMILLION, "alpha": 0.45, "linewidths": 0, "zorder": 3}
HOLLOW: dict[str, Any] = {"facecolors": "none", "edgecolors": VERMILLION, "linewidths": 0.8, "zorder": 3}
BARS: dict[str, Any] = {"fmt": "none", "ecolor": BLUE, "alpha": 0.35, "elinewidth": 0.6, "zorder": 2.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What a panel turned out to hold: notes, error bars that the figure has to explain, and whose scale."""

    notes: str = ""
    certificates: bool = False
    uncertified: bool = False
    stderrs: bool = False
    predicted_certificates: bool = False
    own_scale: bool = False
    hollow: bool = False
    fitted: bool = False


def draw_panel(
    axes: Axes, points: Points, limits: Limits, agreement: Agreement | None, style: Style
) -> Drawn:
    """Draw scatter and identity line, and unless the style is bare error bars and statistics.

    `agreement` may be None only where no pair is finite; the panel then says why it is empty.
    """
    _prepare_axes(axes, limits, style)
    if not len(points.actual):
        reason = axes.text(0.5, 0.5, _why_empty(points), transform=axes.transAxes, color=VERMILLION)
        reason.set(ha="center", va="center", gid="reason")
        return Drawn()
    end = min(limits.actual, limits.predicted)
    axes.plot([-end, end], [-end, end], zorder=1.5, gid="identity", **style.identity)
    inside = (np.abs(points.actual) <= limits.actual) & (np.abs(points.predicted) <= limits.predicted)
    area = (style.marker_inches * POINTS_PER_INCH) ** 2
    solid, hollow = inside & ~points.other, inside & points.other
    scatter = axes.scatter(points.actual[solid], points.predicted[solid], s=area, zorder=3, **style.marker)
    scatter.set(gid="points", rasterized=len(points.actual) > MAX_VECTORS)
    if hollow.any():
        axes.scatter(points.actual[hollow], points.predicted[hollow], s=1.5 * area, gid="hollow", **HOLLOW)
    notes = _notes(limits, int((~inside).sum()), points, style)
    if style.bare:
        return Drawn(notes=notes, own_scale=limits.own)
    _draw_outside(axes, points, limits, ~inside, style)
    if agreement is not None:
        _write_statistics(axes, points, limits, agreement)
    shortest = style.marker_inches / style.side
    up, own = (limits.predicted, shortest), points.predicted_certificate
    known = points.certificate[np.isfinite(points.certificate)]
    # Where no change is certified, bars would all leave the panel on both sides.
    bounds = points.certificate if len(known) else np.zeros_like(points.certificate)
    return Drawn(
        notes=notes,
        certificates=_draw_bars(axes, points, "xerr", bounds, inside, (limits.actual, shortest)),
        uncertified=not len(known),
        stderrs=_draw_bars(axes, points, "yerr", points.predicted_stderr, inside, up),
        predicted_certificates=_draw_bars(axes, points, "yerr", own, inside, up),
        own_scale=limits.own,
        hollow=bool(points.other.any()),
        fitted=_draw_fitted_line(axes, limits, agreement),
    )


def write_title(axes: Axes, title: str, notes: str, raised: bool) -> None:
    """The title, and between it and the frame the notes; `raised` leaves their room where there are none."""
    # A method is called what it is called, dollars too.
    axes.set_title(title, pad=5.0 + (NOTE_SIZE + 3.0 if raised else 0.0), parse_math=False)
    axes.annotate(
        notes,
        (0.5, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        color=VERMILLION,
        fontsize=NOTE_SIZE,
        gid="notes",
    )


def _prepare_axes(axes: Axes, limits: Limits, style: Style) -> None:
    axes.set(xlim=(-limits.actual, limits.actual), ylim=(-limits.predicted, limits.predicted))
    if limits.own:
        axes.set_box_aspect(1)
        axes.tick_params(axis="y", color=VERMILLION, labelcolor=VERMILLION)
        axes.spines["left"].set_color(VERMILLION)
    else:
        axes.set_aspect("equal")
    for axis, limit in ((axes.xaxis, limits.actual), (axes.yaxis, limits.predicted)):
        if style.bare:
            ticks = [-tick(limit), 0.0, tick(limit)]
            axis.set_ticks(ticks, labels=[_tick_label(place, ticks[-1]) for place in ticks])
        else:
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))


def _draw_fitted_line(axes: Axes, limits: Limits, agreement: Agreement | None) -> bool:
    """The line actual = slope · predicted + intercept over the panel's height; whether there is one.

    The axes are the other way round, so a slope of 5 looks flat: the line shows which way it is meant.
    """
    if agreement is None or not math.isfinite(agreement.slope):
        return False
    predicted = np.array([-limits.predicted, limits.predicted])
    actual = agreement.slope * predicted + agreement.intercept
    axes.plot(actual, predicted, gid="fitted", scalex=False, scaley=False, **FITTED)
    return True


def _tick_label(place: float, largest: float) -> str:
    """With the decimals of the largest tick, which has one digit; short also where these are many."""
    decimals = max(0, -math.floor(math.log10(largest)))
    return minus(f"{place:.{decimals}f}" if decimals <= MAX_DECIMALS else f"{place:.0e}" if place else "0")


def _why_empty(points: Points) -> str:
    if points.num_diverged:
        return "diverged:\nno finite predictions"
    return "no finite actual changes" if points.num_left_out else "no points"


def _draw_bars(
    axes: Axes,
    points: Points,
    direction: str,
    half_lengths: Float[np.ndarray, " points"],
    inside: Bool[np.ndarray, " points"],
    room: tuple[float, float],
) -> bool:
    """Error bars of points inside that exceed a share of the limit, both `room`; whether there are any."""
    limit, shortest = room
    visible = inside & (half_lengths > shortest * limit)
    if visible.any():
        # An infinite half length is drawn as one that leaves the panel on both sides.
        lengths: dict[str, Any] = {direction: np.minimum(half_lengths[visible], 4 * limit)}
        bars = axes.errorbar(points.actual[visible], points.predicted[visible], **lengths, **BARS)
        bars.lines[2][0].set_gid(direction)
    return bool(visible.any())


def _draw_outside(
    axes: Axes, points: Points, limits: Limits, outside: Bool[np.ndarray, " points"], style: Style
) -> None:
    """Triangles on the frame that point to where the points are; up or down if both coordinates are out.

    Hollow where the model is of another minimum, as inside.
    """
    x, y = points.actual[outside] / limits.actual, points.predicted[outside] / limits.predicted
    sideways, other = np.abs(y) <= 1, points.other[outside]
    for marker, chosen in (
        ("^", y > 1),
        ("v", y < -1),
        (">", sideways & (x > 1)),
        ("<", sideways & (x < -1)),
    ):
        for gid, look, own in (("outside", OUTSIDE, chosen & ~other), ("hollow", HOLLOW, chosen & other)):
            if own.any():
                axes.scatter(
                    x[own].clip(-1, 1) * limits.actual,
                    y[own].clip(-1, 1) * limits.predicted,
                    s=(1.4 * style.marker_inches * POINTS_PER_INCH) ** 2,
                    marker=marker,
                    clip_on=False,
                    gid=gid,
                    **look,
                )


def _notes(limits: Limits, num_outside: int, points: Points, style: Style) -> str:
    counts = {
        "outside": num_outside,
        "not finite": points.num_left_out,
        "of another minimum": int(points.other.sum()),
    }
    found = {what: count for what, count in counts.items() if count}
    if style.bare and len(found) + limits.own > 1:
        # Its panels have no room for more words.
        notes = [f"{count:,} {what}" for what, count in found.items()]
        return ", ".join(["own scale", *notes] if limits.own else notes)
    notes = [f"{_count(count)} {what}" for what, count in found.items()]
    return ", ".join(["own vertical scale", *notes] if limits.own else notes)


def _write_statistics(axes: Axes, points: Points, limits: Limits, agreement: Agreement) -> None:
    """r, slope and number of points, in the corner that has the fewest points."""
    x, y = points.actual / limits.actual, points.predicted / limits.predicted
    width, height = CORNER
    # In order of preference: points near the identity line leave the first two free.
    corners = [(-1, 1), (1, -1), (1, 1), (-1, -1)]
    crowds = [int(((x * right > 1 - width) & (y * up > 1 - height)).sum()) for right, up in corners]
    right, up = corners[crowds.index(min(crowds))]
    lines = [f"r = {format_r(agreement.pearson)}", f"slope = {format_slope(agreement.slope)}"]
    axes.text(
        0.5 + 0.46 * right,
        0.5 + 0.46 * up,
        "\n".join([*lines, _count(agreement.points)]),
        transform=axes.transAxes,
        ha="right" if right > 0 else "left",
        va="top" if up > 0 else "bottom",
        linespacing=1.35,
        zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5},
        gid="statistics",
    )


def _count(num_points: int) -> str:
    return f"{num_points:,} point" + ("" if num_points == 1 else "s")
