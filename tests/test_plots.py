"""The leave-one-out figure: what it shows must be what the table says."""

import io
import math
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from pandas import DataFrame, concat

from plots.agreement import Agreement, agreement
from plots.leave_one_out import draw_leave_one_out
from plots.limits import nice_limit, row_limits
from plots.panel import AXES_INCHES, MARKER_INCHES, format_r, format_slope
from plots.style import save

HALF_MARKER = 0.5 * MARKER_INCHES / (AXES_INCHES / 2)
"""As a share of the limit: what an error bar must exceed to be seen."""


def rows(
    method: str = "exact",
    test_index: int = 8,
    scale: float = 1.0,
    num_points: int = 40,
    **columns: Any,
) -> DataFrame:
    """Points of one method; `columns` override the faithful predictions."""
    generator = np.random.default_rng(0)
    predicted = generator.choice([-1.0, 1.0], num_points) * generator.uniform(0.003, 0.0304, num_points)
    table = DataFrame({"method": method, "test_index": test_index, "train_index": np.arange(num_points)})
    table["label"] = 5
    table["predicted_change"] = scale * predicted
    table["predicted_stderr"] = 0.0
    table["actual_change"] = scale * (1.006 * predicted + 1e-4 * generator.normal(size=num_points))
    table["certificate"] = 0.0
    return table.assign(**columns)


def all_agreements(table: DataFrame) -> dict[tuple[str, int], Agreement]:
    return {
        (str(method), int(str(test))): agreement(part["predicted_change"], part["actual_change"])
        for (method, test), part in table.groupby(["method", "test_index"])
    }


def draw(*parts: DataFrame, limits: float | None = None, selection: str | None = None) -> Figure:
    table = concat(parts)
    titles = {"exact": "Linear (exact)", "lissa": "Linear (approx)"}
    return draw_leave_one_out(table, all_agreements(table), titles, limits=limits, selection=selection)


def texts(panel: Axes | Figure, gid: str) -> list[str]:
    return [text.get_text() for text in panel.findobj(Text) if text.get_gid() == gid and text.get_text()]


def offsets(panel: Axes, gid: str) -> np.ndarray:
    """Positions of all markers with this gid, of shape (points, 2)."""
    found = [c for c in panel.collections if isinstance(c, PathCollection) and c.get_gid() == gid]
    return np.concatenate([np.asarray(c.get_offsets()) for c in found] or [np.empty((0, 2))])


def bars(panel: Axes, gid: str) -> np.ndarray:
    """Ends of all error bars with this gid, of shape (bars, 2 ends, 2 coordinates)."""
    found = [c for c in panel.collections if isinstance(c, LineCollection) and c.get_gid() == gid]
    return np.concatenate([np.asarray(c.get_segments()) for c in found] or [np.empty((0, 2, 2))])


def test_one_panel_a_method_in_the_table_s_order() -> None:
    figure = draw(rows("lissa"), rows("exact"), rows("arnoldi"))
    assert [panel.get_title() for panel in figure.axes] == ["Linear (approx)", "Linear (exact)", "arnoldi"]


@pytest.mark.parametrize(("num_methods", "columns"), [(1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2])])
def test_methods_of_one_test_point_wrap_evenly(num_methods: int, columns: list[int]) -> None:
    figure = draw(*(rows(f"method {k}") for k in range(num_methods)))
    tops = [round(panel.get_position().y1, 6) for panel in figure.axes]
    assert [tops.count(top) for top in sorted(set(tops), reverse=True)] == columns
    assert tops == sorted(tops, reverse=True)


def test_one_row_of_panels_a_test_point() -> None:
    methods = ("exact", "lissa", "cg", "arnoldi")
    figure = draw(*(rows(method, test) for test in (46, 8) for method in methods))
    first, second = figure.axes[:4], figure.axes[4:]
    assert [texts(panel, "row") for panel in (first[-1], second[-1])] == [["Test point 46"], ["Test point 8"]]
    assert len({panel.get_position().y0 for panel in first}) == 1
    assert first[0].get_position().y0 > second[0].get_position().y1
    for above, below in zip(first, second, strict=True):
        assert above.get_position().x0 == below.get_position().x0
    assert texts(draw(rows()), "row") == []


def test_outer_axes_are_labelled_also_above_an_empty_place() -> None:
    panels = draw(*(rows(f"method {k}") for k in range(5))).axes
    assert [panel.get_ylabel() != "" for panel in panels] == [True, False, False, True, False]
    assert [panel.get_xlabel() != "" for panel in panels] == [False, False, True, True, True]
    assert panels[3].get_ylabel() == "Predicted diff in loss"
    assert panels[3].get_xlabel() == "Actual diff in loss"


def test_one_panel_is_a_column_of_a_paper_wide_and_its_frame_square() -> None:
    figure = draw(rows())
    assert figure.get_figwidth() == pytest.approx(3.3)
    frame = figure.axes[0].get_position()
    sides = frame.width * figure.get_figwidth(), frame.height * figure.get_figheight()
    assert sides == pytest.approx((AXES_INCHES, AXES_INCHES))


def test_x_is_the_actual_and_y_the_predicted_change() -> None:
    table = rows()
    panel = draw(table).axes[0]
    np.testing.assert_array_equal(offsets(panel, "points"), table[["actual_change", "predicted_change"]])
    assert len(offsets(panel, "outside")) == 0


def test_faithful_panels_have_equal_aspect_and_share_limits_that_hold_every_point() -> None:
    exact, half = rows(), rows("lissa", predicted_change=0.5 * rows()["predicted_change"])
    panels = draw(exact, half).axes
    for panel in panels:
        assert panel.get_aspect() == 1.0
        assert panel.get_xlim() == panel.get_ylim() == (-0.04, 0.04)
        assert np.abs(offsets(panel, "points")).max() < 0.04


def test_the_identity_line_crosses_the_panel() -> None:
    panel = draw(rows()).axes[0]
    (line,) = [line for line in panel.lines if line.get_gid() == "identity"]
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert tuple(np.asarray(line.get_xdata())) == panel.get_xlim()


def test_a_factor_of_two_stays_on_the_shared_limits() -> None:
    """A wrong scale must show as a slope, not be hidden by other limits."""
    panels = draw(rows(), rows("lissa", predicted_change=2.0 * rows()["predicted_change"])).axes
    assert [panel.get_ylim() for panel in panels] == [(-0.08, 0.08)] * 2
    assert texts(panels[1], "notes") == []


@pytest.mark.parametrize("factor", [50.0, 0.01])
def test_a_method_on_another_scale_gets_its_own_vertical_limits_only(factor: float) -> None:
    far = factor * rows()["predicted_change"]
    exact, other = draw(rows(), rows("grad_dot", predicted_change=far)).axes
    assert exact.get_ylim() == (-0.04, 0.04)
    assert other.get_xlim() == (-0.04, 0.04)
    low, high = other.get_ylim()
    assert low == -high
    assert np.abs(far).max() < high < 1.5 * np.abs(far).max()
    assert texts(other, "notes") == ["own vertical scale"]
    assert texts(exact, "notes") == []
    assert len(offsets(other, "points")) == len(far)
    (line,) = [line for line in other.lines if line.get_gid() == "identity"]
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())


def test_the_title_above_a_note_is_level_with_the_others() -> None:
    exact, other = draw(rows(), rows("grad_dot", predicted_change=1.0)).axes
    # The title's position is the frame's top plus the pad; the pad is in its offset transform.
    heights = [panel.title.get_transform().transform((0.5, 1.0))[1] for panel in (exact, other)]
    assert heights[0] == heights[1]


def test_test_points_have_limits_of_their_own() -> None:
    first, second = draw(rows(test_index=8), rows(test_index=33, scale=0.01)).axes
    assert (first.get_xlim(), second.get_xlim()) == ((-0.04, 0.04), (-4e-4, 4e-4))
    assert texts(second, "notes") == []


def test_points_outside_given_limits_are_triangles_on_the_frame_and_counted() -> None:
    x, y = np.array([0.01, 0.03, -0.03, 0.01, 0.03, -0.06]), np.array([0.01, 0.01, 0.01, 0.03, 0.04, -0.05])
    panel = draw(rows(num_points=6, actual_change=x, predicted_change=y), limits=0.02).axes[0]
    assert panel.get_xlim() == panel.get_ylim() == (-0.02, 0.02)
    assert offsets(panel, "points").tolist() == [[0.01, 0.01]]
    on_frame = {(0.02, 0.01), (-0.02, 0.01), (0.01, 0.02), (0.02, 0.02), (-0.02, -0.02)}
    assert {tuple(position) for position in offsets(panel, "outside").tolist()} == on_frame
    assert texts(panel, "notes") == ["5 points outside"]


def test_given_limits_are_taken_as_they_are() -> None:
    panel = draw(rows(), limits=0.05).axes[0]
    assert panel.get_xlim() == panel.get_ylim() == (-0.05, 0.05)


def test_the_statistics_are_the_agreement_s_numbers() -> None:
    table = rows()
    given = Agreement(
        pearson=-0.87541, spearman=0.1, slope=0.9217, intercept=0.2, max_abs_error=0.3, points=1234
    )
    figure = draw_leave_one_out(table, {("exact", 8): given}, {})
    assert texts(figure, "statistics") == ["r = −0.875\nslope = 0.922\n1,234 points"]


def test_each_panel_has_the_statistics_of_its_own_method_and_test_point() -> None:
    table = concat([rows(method, test) for test in (8, 33) for method in ("exact", "lissa")])
    keys = [("exact", 8), ("lissa", 8), ("exact", 33), ("lissa", 33)]
    given = {
        key: Agreement(
            pearson=0.0, spearman=0.0, slope=1.0 + place, intercept=0.0, max_abs_error=0.0, points=1
        )
        for place, key in enumerate(keys)
    }
    found = [texts(panel, "statistics")[0] for panel in draw_leave_one_out(table, given, {}).axes]
    assert [text.split("\n")[1] for text in found] == [f"slope = {k}.000" for k in (1, 2, 3, 4)]


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
    words = {"xerr": "Horizontal bars: ± certificate.", "yerr": "Vertical bars: ± one standard error."}
    assert words[gid] in " ".join(texts(figure, "key")).replace("\n", " ")


def test_vertical_bars_are_judged_on_the_panel_s_own_scale() -> None:
    far, bar = 50 * rows()["predicted_change"], 0.04 * HALF_MARKER * 10
    panel = draw(rows("grad_dot", predicted_change=far, predicted_stderr=bar, certificate=bar)).axes[0]
    assert len(bars(panel, "yerr")) == 0
    assert len(bars(panel, "xerr")) == len(far)


def test_the_key_mentions_only_what_is_drawn() -> None:
    (key,) = texts(draw(rows(), selection="The 500 largest."), "key")
    assert " ".join(key.split()) == "The 500 largest. Line: predicted = actual."


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


def render_cases() -> dict[str, DataFrame]:
    grown = 1e200 * rows()["predicted_change"]
    return {
        "one point": rows(num_points=1),
        "one point at the origin": rows(num_points=1, predicted_change=0.0, actual_change=0.0),
        "no actual change": rows(actual_change=0.0),
        "no standard errors": rows(predicted_stderr=math.nan),
        "negative predictions only": rows(predicted_change=-0.01),
        "other scales": concat([rows(), rows("lissa", predicted_change=grown), rows("cg", scale=1e-9)]),
        "test points": concat([rows(test_index=test) for test in (8, 33, 46)]),
    }


@pytest.mark.parametrize("case", render_cases())
@pytest.mark.parametrize(("file_format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_renders_without_a_warning(case: str, file_format: str, start: bytes) -> None:
    buffer = io.BytesIO()
    save(draw(render_cases()[case]), buffer, file_format)
    assert buffer.getvalue().startswith(start)


def crowded_parts() -> list[DataFrame]:
    """Three test points on three scales by three methods, with wide tick labels and every error bar."""
    stderr = 0.04 * np.abs(rows()["predicted_change"])
    return [
        rows(test_index=test, scale=scale, method=method, predicted_stderr=scale * stderr, certificate=0.002)
        for test, scale in ((8, 1.0), (33, 0.3), (46, 0.001))
        for method in ("exact", "lissa", "cg")
    ]


@pytest.mark.parametrize("parts", [crowded_parts(), crowded_parts()[3:4]], ids=["nine panels", "one panel"])
def test_text_stays_inside_the_figure_and_apart(parts: list[DataFrame]) -> None:
    figure = draw(*parts, selection="The 500 of 55,000 training points with the largest influence")
    figure.draw_without_rendering()
    texts_and_boxes = [
        (text, text.get_window_extent())
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible()
    ]
    for text, box in texts_and_boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, text.get_text()
    for (text, box), (other, other_box) in combinations(texts_and_boxes, 2):
        assert not box.overlaps(other_box), (text.get_text(), other.get_text())


def test_writing_is_reproducible_and_ignores_the_user_s_settings(tmp_path: Path) -> None:
    for file_format in ("png", "pdf"):
        first, second = tmp_path / f"first.{file_format}", tmp_path / f"second.{file_format}"
        save(draw(rows()), first)
        with matplotlib.rc_context({"font.size": 30, "pdf.fonttype": 3, "xtick.direction": "in"}):
            save(draw(rows()), second)
            assert matplotlib.rcParams["font.size"] == 30
        assert first.read_bytes() == second.read_bytes()
        assert b"CreationDate" not in first.read_bytes()


def test_pdf_fonts_are_embedded_as_truetype() -> None:
    buffer = io.BytesIO()
    save(draw(rows()), buffer, "pdf")
    assert b"/FontFile2" in buffer.getvalue()
    assert b"/Type3" not in buffer.getvalue()


def test_png_has_300_dots_an_inch() -> None:
    buffer = io.BytesIO()
    figure = draw(rows())
    save(figure, buffer, "png")
    # Bytes 16 to 24 of a PNG are its width and height.
    width = int.from_bytes(buffer.getvalue()[16:20], "big")
    assert width == pytest.approx(300 * 3.3, abs=1)


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import io, sys; from tests.test_plots import draw, rows; from plots.style import save;"
        "save(draw(rows()), io.BytesIO(), 'png'); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_what_is_missing_is_named() -> None:
    table = rows()
    with pytest.raises(ValueError, match="no column certificate;"):
        draw_leave_one_out(table.drop(columns="certificate"), {}, {})
    with pytest.raises(ValueError, match="no rows"):
        draw_leave_one_out(table.iloc[:0], {}, {})
    with pytest.raises(ValueError, match="no agreement is given for method exact at test point 8"):
        draw_leave_one_out(table, {}, {})
    for limits in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="limits must be a positive number"):
            draw(table, limits=limits)


@pytest.mark.parametrize(
    ("largest", "limit"),
    [(0.0, 1.0), (0.0304, 0.04), (0.0486, 0.06), (0.029, 0.03), (0.98, 1.2), (0.96, 1.0), (7e-5, 8e-5)],
)
def test_limits_are_the_next_round_number_beyond_a_margin(largest: float, limit: float) -> None:
    assert nice_limit(largest) == limit


def test_limits_hold_any_size_with_room_and_without_waste() -> None:
    for largest in np.geomspace(1e-12, 1e12, 997):
        assert 1.03 * largest <= nice_limit(float(largest)) <= 1.35 * 1.03 * largest


def test_a_method_leaves_the_shared_limits_beyond_three_and_below_a_tenth() -> None:
    actual = [np.array([-1.0, 0.5])] * 5
    predicted = [np.array([size, 0.0]) for size in (2.9, -3.1, 0.11, -0.09, 0.0)]
    found = row_limits(actual, predicted)
    assert [limits.own for limits in found] == [False, True, False, True, False]
    assert [limits.actual for limits in found] == [3.0] * 5
    assert [limits.predicted for limits in found] == [3.0, 4.0, 3.0, 0.1, 3.0]
