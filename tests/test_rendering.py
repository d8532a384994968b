"""Figures are written alike everywhere, and their text stays inside and apart."""

import io
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from pandas import DataFrame, concat

from plots.errors import draw_errors
from plots.groups import draw_groups
from plots.leave_one_out import draw_leave_one_out
from plots.style import DEFAULT, save
from plots.trace import draw_trace
from tests.figure_parts import all_agreements, assert_texts_are_apart, draw, rows

pytestmark = pytest.mark.figures


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
@pytest.mark.parametrize(("file_format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
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
    assert_texts_are_apart(figure)


def test_writing_is_reproducible_and_ignores_the_user_s_settings(tmp_path: Path) -> None:
    for file_format in ("png", "pdf", "svg"):
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


def test_png_has_300_dots_an_inch(dots_per_inch: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEFAULT.settings, "figure.dpi", dots_per_inch["default"])
    buffer = io.BytesIO()
    figure = draw(rows())
    save(figure, buffer, "png")
    # Bytes 16 to 24 of a PNG are its width and height.
    width = int.from_bytes(buffer.getvalue()[16:20], "big")
    assert width == pytest.approx(300 * 3.3, abs=1)


def test_a_name_with_dollars_is_no_mathematics() -> None:
    """It would be drawn as something else, or, as here, not at all."""
    table, name = rows("a").assign(size=1, selection="all"), "$\\oops$"
    points = draw_leave_one_out(table, all_agreements(table), {"a": name})
    errors, groups = draw_errors(table, {"a": name}), draw_groups(table, {"a": name})
    trace = draw_trace({"one": [(1, 1.0), (2, 0.1)]}, name, name)
    for figure in (points, errors, groups, trace):
        figure.draw_without_rendering()
        assert name in [text.get_text() for text in figure.findobj(Text)]


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import io, sys; from tests.figure_parts import draw, rows; from plots.style import DEFAULT, save;"
        "save(draw(rows()), io.BytesIO(), 'png'); sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
