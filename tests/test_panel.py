"""A panel shows what its rows of the table say."""

import io
import math

import numpy as np
import pytest

from plots.agreement import Agreement, agreement
from plots.leave_one_out import draw_leave_one_out
from plots.numbers import format_r, format_slope
from plots.style import save
from tests.figure_parts import HALF_MARKER, bars, draw, offsets, rows, texts

pytestmark = pytest.mark.figures


def test_x_is_the_actual_and_y_the_predicted_change() -> None:
    table = rows()
    panel = draw(table).axes[0]
    np.testing.assert_array_equal(offsets(panel, "points"), table[["actual_change", "predicted_change"]])
    assert len(offsets(panel, "outside")) == 0


def test_the_identity_line_crosses_the_panel() -> None:
    panel = draw(rows()).axes[0]
    (line,) = [line for line in panel.lines if line.get_gid() == "identity"]
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert tuple(np.asarray(line.get_xdata())) == panel.get_xlim()


@pytest.mark.parametrize("factor", [1.0, 0.2, -0.5, 50.0])
def test_the_fitted_line_is_the_one_that_the_slope_is_of(factor: float) -> None:
    table = rows(predicted_change=factor * rows()["predicted_change"] + 0.001)
    panel = draw(table).axes[0]
    (line,) = [line for line in panel.lines if line.get_gid() == "fitted"]
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert tuple(y) == panel.get_ylim()
    fit = agreement(table["predicted_change"], table["actual_change"])
    # x is the actual change, so the line that is printed as slope runs across, not up.
    np.testing.assert_allclose(x, fit.slope * y + fit.intercept, rtol=1e-12)
    np.testing.assert_allclose(np.diff(x) / np.diff(y), 1.006 / factor, rtol=0.02)


def test_points_outside_given_limits_are_triangles_on_the_frame_and_counted() -> None:
    x, y = np.array([0.01, 0.03, -0.03, 0.01, 0.03, -0.06]), np.array([0.01, 0.01, 0.01, 0.03, 0.04, -0.05])
    panel = draw(rows(num_points=6, actual_change=x, predicted_change=y), limits=0.02).axes[0]
    assert panel.get_xlim() == panel.get_ylim() == (-0.02, 0.02)
    assert offsets(panel, "points").tolist() == [[0.01, 0.01]]
    on_frame = {(0.02, 0.01), (-0.02, 0.01), (0.01, 0.02), (0.02, 0.02), (-0.02, -0.02)}
    assert {tuple(position) for position in offsets(panel, "outside").tolist()} == on_frame
    assert texts(panel, "notes") == ["5 points outside"]


def test_the_statistics_are_the_agreement_s_numbers() -> None:
    table = rows()
    given = Agreement(
        pearson=-0.87541, spearman=0.1, slope=0.9217, intercept=0.2, max_abs_error=0.3, points=1234
    )
    figure = draw_leave_one_out(table, {("exact", 8): given}, {})
    assert texts(figure, "statistics") == ["r = −0.875\nslope = 0.922\n1,234 points"]


@pytest.mark.parametrize(
    ("r", "text"),
    [(0.5, "0.500"), (0.9981, "0.998"), (0.99999, "0.99999"), (-0.999996, "−0.999996"), (1.0, "1.000000")],
)
def test_r_is_never_rounded_up_to_one(r: float, text: str) -> None:
    assert format_r(r) == text


def test_slopes_keep_three_digits_at_any_scale() -> None:
    assert [format_slope(s) for s in (1.0064, -0.97, 0.021343, 48.31, 1e-5)] == [
        "1.006",
        "−0.970",
        "0.0213",
        "48.3",
        "1e−05",
    ]


@pytest.mark.parametrize(("sign", "right", "upper"), [(1.0, False, True), (-1.0, True, True)])
def test_the_statistics_avoid_the_points(sign: float, right: bool, upper: bool) -> None:
    panel = draw(rows(predicted_change=sign * rows()["predicted_change"])).axes[0]
    (text,) = [text for text in panel.texts if text.get_gid() == "statistics"]
    x, y = text.get_position()
    assert (x > 0.5, y > 0.5) == (right, upper)


@pytest.mark.parametrize(
    ("column", "gid", "along"), [("certificate", "xerr", 0), ("predicted_stderr", "yerr", 1)]
)
def test_error_bars_are_drawn_where_longer_than_a_marker_with_their_half_lengths(
    column: str, gid: str, along: int
) -> None:
    smallest = 0.04 * HALF_MARKER
    half_lengths = np.array([0.0, np.nan, 0.98 * smallest, 1.02 * smallest, 0.005])
    table = rows(num_points=5).assign(**{column: half_lengths})
    table["actual_change"] = table["predicted_change"] = np.array([0.01, -0.02, 0.03, -0.015, 0.025])
    figure = draw(table)
    panel = figure.axes[0]
    assert panel.get_xlim() == (-0.04, 0.04)
    ends = bars(panel, gid)
    # Ends are sums of numbers of size 0.03.
    np.testing.assert_allclose(ends[:, 1, along] - ends[:, 0, along], 2 * half_lengths[3:], atol=1e-16)
    np.testing.assert_allclose(ends.mean(axis=1), offsets(panel, "points")[3:], atol=1e-16)
    np.testing.assert_array_equal(ends[:, 0, 1 - along], ends[:, 1, 1 - along])
    assert len(bars(panel, "yerr" if gid == "xerr" else "xerr")) == 0
    words = {
        "xerr": "Horizontal bars: ± certificate.",
        "yerr": "Vertical bars: ± one standard error over the repeats, truncation not included.",
    }
    assert words[gid] in " ".join(texts(figure, "key")).replace("\n", " ")


def test_vertical_bars_are_judged_on_the_panel_s_own_scale() -> None:
    far, bar = 50 * rows()["predicted_change"], 0.04 * HALF_MARKER * 10
    panel = draw(rows("grad_dot", predicted_change=far, predicted_stderr=bar, certificate=bar)).axes[0]
    assert len(bars(panel, "yerr")) == 0
    assert len(bars(panel, "xerr")) == len(far)


def test_an_infinite_certificate_spans_the_panel() -> None:
    figure = draw(rows(num_points=3, certificate=math.inf))
    ends = bars(figure.axes[0], "xerr")
    assert (ends[:, 0, 0] < -0.04).all()
    assert (ends[:, 1, 0] > 0.04).all()
    save(figure, io.BytesIO(), "png")


def test_a_diverged_method_says_so_and_leaves_the_others_alone() -> None:
    diverged = rows("lissa", predicted_change=math.nan, predicted_stderr=math.nan)
    exact, lissa = draw(rows(), diverged).axes
    assert texts(lissa, "reason") == ["diverged:\nno finite predictions"]
    assert texts(lissa, "statistics") == []
    assert lissa.get_xlim() == exact.get_xlim() == (-0.04, 0.04)


def test_an_empty_panel_gives_its_true_reason() -> None:
    _, unsolved = draw(rows(), rows("lissa", actual_change=math.nan)).axes
    assert texts(unsolved, "reason") == ["no finite actual changes"]
    panels = draw(rows(test_index=8), rows("lissa", test_index=33)).axes
    assert [texts(panel, "reason") for panel in panels] == [[], ["no points"], ["no points"], []]


def test_some_predictions_that_are_not_finite_are_counted() -> None:
    predicted = rows()["predicted_change"].to_numpy().copy()
    predicted[[3, 7]] = math.inf, math.nan
    panel = draw(rows(predicted_change=predicted)).axes[0]
    assert texts(panel, "notes") == ["2 points not finite"]
    assert texts(panel, "statistics") == ["r = undefined\nslope = undefined\n40 points"]
    assert len(offsets(panel, "points")) == 38
