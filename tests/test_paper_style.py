"""plot=paper looks as the figure of the paper does, and hides nothing for it."""

import io
import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from pandas import DataFrame

from plots.limits import tick
from plots.style import DEFAULT, PAPER, STYLES, save
from repro.configuration.compose import compose
from tests.figure_parts import assert_texts_are_apart, bars, draw, offsets, rows, texts

pytestmark = pytest.mark.figures

PAGE = 6.75


def three() -> list[DataFrame]:
    return [rows(name, predicted_stderr=0.01, certificate=0.01) for name in ("exact", "lissa", "cg")]


def tick_labels(panel: Axes) -> list[str]:
    panel.figure.draw_without_rendering()  # type: ignore[union-attr]
    shown = [label for label in panel.get_yticklabels() if label.get_visible()]
    return [label.get_text() for label in shown]


def test_the_configuration_chooses_style_and_limits_and_keeps_the_titles() -> None:
    default, paper = compose([])["plot"], compose(["plot=paper"])["plot"]
    assert (default["style"], default["limits"]) == ("default", None)
    assert paper == default | {"style": "paper", "limits": 0.05}
    assert [STYLES[chosen["style"]] for chosen in (default, paper)] == [DEFAULT, PAPER]


def test_three_square_panels_in_a_row_as_wide_as_a_page() -> None:
    figure = draw(*three(), style=PAPER, limits=0.05)
    assert figure.get_figwidth() == pytest.approx(PAGE, abs=0.01)
    assert len({round(panel.get_position().y0, 9) for panel in figure.axes}) == 1
    for panel in figure.axes:
        assert panel.get_xlim() == panel.get_ylim() == (-0.05, 0.05)
        assert panel.get_aspect() == 1.0
        np.testing.assert_array_equal(panel.get_xticks(), [-0.03, 0.0, 0.03])
        np.testing.assert_array_equal(panel.get_yticks(), [-0.03, 0.0, 0.03])


def test_labels_stand_under_every_panel_and_left_of_the_first() -> None:
    panels = draw(*three(), style=PAPER, limits=0.05).axes
    assert [panel.get_xlabel() for panel in panels] == ["Actual diff in loss"] * 3
    assert [panel.get_ylabel() for panel in panels] == ["Predicted diff in loss", "", ""]
    assert [tick_labels(panel) for panel in panels] == [["−0.03", "0.00", "0.03"], [], []]
    assert [panel.get_title() for panel in panels] == ["Linear (exact)", "Linear (approx)", "cg"]


def test_points_are_opaque_in_deep_blue_over_a_faint_black_line() -> None:
    panel = draw(rows(), style=PAPER, limits=0.05).axes[0]
    (points,) = [c for c in panel.collections if isinstance(c, PathCollection)]
    np.testing.assert_array_equal(points.get_facecolor(), [to_rgba("#4C72B0")])
    # 6 points at a width of 9 inches.
    np.testing.assert_allclose(np.sqrt(points.get_sizes()), 6 * PAGE / 9)
    (line,) = panel.lines
    assert (line.get_color(), line.get_alpha()) == ("black", 0.2)
    assert line.get_zorder() < points.get_zorder()
    assert panel.xaxis.label.get_fontsize() == pytest.approx(16 * PAGE / 9)
    assert {to_rgba(spine.get_edgecolor()) for spine in panel.spines.values()} == {to_rgba("black")}
    assert not any(grid.get_visible() for grid in [*panel.get_xgridlines(), *panel.get_ygridlines()])


def test_nothing_is_written_or_drawn_besides() -> None:
    figure = draw(*three(), style=PAPER, limits=0.05, selection="500 random training points")
    for gid in ("statistics", "notes", "key", "selection", "reason"):
        assert texts(figure, gid) == []
    for panel in figure.axes:
        assert len(bars(panel, "xerr")) == len(bars(panel, "yerr")) == len(offsets(panel, "outside")) == 0
        assert len(offsets(panel, "points")) == 40


def test_what_the_frame_cuts_off_or_is_not_finite_is_still_counted() -> None:
    predicted = rows()["predicted_change"].to_numpy().copy()
    predicted[3] = math.nan
    one, two = draw(rows(), rows("lissa", predicted_change=predicted), style=PAPER, limits=0.02).axes
    inside = [len(offsets(panel, "points")) for panel in (one, two)]
    assert inside[0] < 40
    assert texts(one, "notes") == [f"{40 - inside[0]} points outside"]
    assert texts(two, "notes") == [f"{39 - inside[1]} outside, 1 not finite"]
    (diverged,) = draw(rows(predicted_change=math.nan), style=PAPER, limits=0.05).axes
    assert texts(diverged, "reason") == ["diverged:\nno finite predictions"]


def test_a_method_on_another_scale_shows_its_own_ticks_and_says_so() -> None:
    far = 0.05 * rows()["predicted_change"]
    _, exact, other = draw(
        rows(), rows("lissa"), rows("cg", predicted_change=far), style=PAPER, limits=0.05
    ).axes
    assert other.get_xlim() == exact.get_ylim() == (-0.05, 0.05)
    assert other.get_ylim() == (-0.002, 0.002)
    assert len(offsets(other, "points")) == 40
    assert texts(other, "notes") == ["own vertical scale"]
    assert tick_labels(other) == ["−0.001", "0.000", "0.001"]
    assert tick_labels(exact) == []


@pytest.mark.parametrize("limit", [0.05, 0.04, 1.0, 3.0, 0.12, 2e-7, 800.0])
def test_ticks_of_any_limit_stand_well_inside_on_one_digit(limit: float) -> None:
    assert 0.45 * limit <= tick(limit) <= 0.8 * limit
    assert float(f"{tick(limit):.0e}") == tick(limit)
    assert tick(0.05) == 0.03


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-7, 1e4])
def test_texts_stay_inside_and_apart(scale: float) -> None:
    names = ("exact", "lissa", "Gradient dot product")
    parts = [rows(name, test, scale=scale) for test in (8, 33) for name in names]
    for part in parts[2::3]:
        part["predicted_change"] *= 0.02
    assert_texts_are_apart(draw(*parts, style=PAPER))
    assert_texts_are_apart(draw(*parts[:3], rows("cg", scale=scale), style=PAPER))


def test_writing_is_reproducible_and_in_the_style_given() -> None:
    for file_format in ("png", "pdf"):
        written = [io.BytesIO(), io.BytesIO()]
        for buffer in written:
            save(draw(*three(), style=PAPER, limits=0.05), buffer, file_format, PAPER)
        assert written[0].getvalue() == written[1].getvalue()
