"""Errors stand against certificates on one axis, and what such an axis cannot show is said in words."""

import io
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from pandas import DataFrame, concat

from plots.errors import BARS, CERTIFICATES, COLUMN, PAGE, draw_errors
from plots.style import save
from tests.figure_parts import assert_texts_are_apart, rows, texts

pytestmark = pytest.mark.figures

TITLES = {"exact": "Linear (exact)", "lissa": "Linear (approx)"}


def certified(method: str = "exact", test_index: int = 8, scale: float = 1.0, **columns: Any) -> DataFrame:
    columns.setdefault("certificate", np.geomspace(1e-9, 1e-7, 40))
    return rows(method, test_index, scale, **columns)


def draw(*parts: DataFrame) -> Figure:
    return draw_errors(concat(parts), TITLES)


def bands(panel: Axes) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Heights above the base, edges and base of each histogram, by title in the order of drawing."""
    found = {}
    for patch in panel.patches:
        if isinstance(patch, StepPatch):
            values, edges, base = patch.get_data()
            found[str(patch.get_gid())] = np.asarray(values) - base, np.asarray(edges), float(np.max(base))
    return found


def shade(panel: Axes) -> list[float]:
    """The right ends of what is shaded."""
    found = [p for p in panel.patches if isinstance(p, Rectangle) and p.get_gid() == "certified"]
    return [patch.get_x() + patch.get_width() for patch in found]


def test_bands_stand_in_the_table_s_order_with_the_certificates_last() -> None:
    figure = draw(certified("lissa"), certified("exact"), certified("arnoldi"))
    assert texts(figure, "band") == ["Linear (approx)", "Linear (exact)", "arnoldi", CERTIFICATES]
    drawn = bands(figure.axes[0])
    assert list(drawn) == texts(figure, "band")
    bases = [base for _, _, base in drawn.values()]
    assert bases == sorted(bases, reverse=True)


def test_every_size_is_in_the_bin_that_holds_it() -> None:
    table = certified("lissa")
    (panel,) = draw(table).axes
    sizes = {
        "Linear (approx)": (table["actual_change"] - table["predicted_change"]).abs().to_numpy(),
        CERTIFICATES: table["certificate"].to_numpy(),
    }
    for title, values in sizes.items():
        heights, edges, _ = bands(panel)[title]
        # A size on an edge, as the first and last certificate, may fall on either side of it by rounding.
        counts = np.histogram(values * (1 + 1e-9), edges)[0]
        assert heights.max() == pytest.approx(BARS)
        np.testing.assert_allclose(heights, BARS * counts / counts.max())
        assert counts.sum() == 40
    assert panel.get_xscale() == "log"


def test_the_shade_ends_at_the_largest_certificate_and_never_hides_one_that_is_infinite() -> None:
    table = certified()
    (panel,) = draw(table).axes
    assert shade(panel) == pytest.approx([1e-7])
    assert np.abs(table["actual_change"] - table["predicted_change"]).max() > 100 * 1e-7
    for bad in (math.inf, math.nan):
        table.loc[3, "certificate"] = bad
        figure = draw(table)
        assert shade(figure.axes[0]) == pytest.approx([figure.axes[0].get_xlim()[1]])
        assert texts(figure, "note") == ["1 not finite"]


def test_errors_of_zero_and_such_as_are_not_finite_are_counted() -> None:
    table = certified("lissa")
    table.loc[[1, 2], "predicted_change"] = table.loc[[1, 2], "actual_change"]
    table.loc[[3, 4, 5], "predicted_change"] = math.inf, -math.inf, math.nan
    figure = draw(certified(), table)
    assert texts(figure, "note") == ["2 exactly 0, 3 not finite"]
    assert bands(figure.axes[0])["Linear (approx)"][0].max() == pytest.approx(BARS)


@pytest.mark.parametrize(
    "columns",
    [
        {"predicted_change": math.nan, "certificate": math.inf},
        {"predicted_change": 0.0, "actual_change": 0.0, "certificate": 0.0},
        {"predicted_change": 1e200, "certificate": 1e-320},
        {"predicted_change": 1e308, "actual_change": -1e308},
    ],
)
def test_renders_without_a_warning(columns: dict[str, Any]) -> None:
    for file_format in ("png", "pdf"):
        save(draw(certified(**columns)), io.BytesIO(), file_format)


@pytest.mark.parametrize("num_tests", [1, 2, 3, 5])
def test_test_points_have_a_panel_each_on_one_axis_and_their_texts_are_apart(num_tests: int) -> None:
    tests = [8, 33, 46, 63, 77][:num_tests]
    noted = 1e-3 * np.where(np.arange(40) < 3, math.nan, 1.0)
    columns: dict[str, dict[str, Any]] = {"exact": {}, "lissa": {}, "cg": {"predicted_change": noted}}
    figure = draw(
        *(
            certified(method, test, 10.0**-place, **columns[method])
            for place, test in enumerate(tests)
            for method in columns
        )
    )
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == [f"Test point {test}" for test in tests]
    assert len({panel.get_xlim() for panel in figure.axes}) == 1
    assert len({round(panel.get_position().y1, 6) for panel in figure.axes}) == math.ceil(num_tests / 3)
    assert figure.get_figwidth() == (COLUMN if num_tests == 1 else PAGE)
    assert_texts_are_apart(figure)


def test_a_training_point_that_several_methods_list_has_one_certificate() -> None:
    one = bands(draw(certified()).axes[0])[CERTIFICATES]
    same = bands(draw(certified(), certified("lissa")).axes[0])[CERTIFICATES]
    np.testing.assert_array_equal(one[0], same[0])
    # Twenty points of the largest certificate, ten of which the other method lists too.
    ten = certified(certificate=np.repeat([1e-8, 1e-6], 20))
    other = certified("lissa", train_index=np.arange(30, 70), certificate=1e-6)
    heights = bands(draw(ten, other).axes[0])[CERTIFICATES][0]
    assert sorted(heights[heights > 0] / BARS) == pytest.approx([20 / 50, 1.0])


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="no column certificate;"):
        draw_errors(rows().drop(columns="certificate"), {})
    with pytest.raises(ValueError, match="no rows"):
        draw_errors(rows().iloc[:0], {})


def test_writing_is_reproducible() -> None:
    for file_format in ("png", "pdf"):
        written = [io.BytesIO(), io.BytesIO()]
        for buffer in written:
            save(draw(certified()), buffer, file_format)
        assert written[0].getvalue() == written[1].getvalue()
