"""Where panels, titles and key of the figure stand."""

import math

import pytest
from pandas import concat

from plots.agreement import Agreement
from plots.leave_one_out import draw_leave_one_out
from plots.style import DEFAULT
from tests.figure_parts import draw, rows, texts

pytestmark = pytest.mark.figures


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
    assert len({round(panel.get_position().y0, 12) for panel in first}) == 1
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
    assert sides == pytest.approx((DEFAULT.side, DEFAULT.side))


def test_the_title_above_a_note_is_level_with_the_others() -> None:
    exact, other = draw(rows(), rows("grad_dot", predicted_change=1.0)).axes
    # The title's position is the frame's top plus the pad; the pad is in its offset transform.
    heights = [panel.title.get_transform().transform((0.5, 1.0))[1] for panel in (exact, other)]
    assert heights[0] == heights[1]


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


def test_the_key_mentions_only_what_is_drawn() -> None:
    (key,) = texts(draw(rows()), "key")
    fitted = "Dashed line: actual = slope × predicted + intercept, least squares."
    assert " ".join(key.split()) == f"Solid line: predicted = actual. {fitted}"
    (none,) = texts(draw(rows(predicted_change=math.nan)), "key")
    assert "Dashed" not in none


def test_test_point_and_selection_are_the_title_above_the_panels() -> None:
    (title,) = texts(draw(rows(), selection="500 random training points"), "selection")
    assert title == "Test point 8. 500 random training points"
    assert texts(draw(rows(test_index=46)), "selection") == ["Test point 46"]
    # With several, each row names its own.
    assert texts(draw(rows(), rows(test_index=33)), "selection") == []


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
