"""The report page in a real browser: it shows what the table holds, to every reader, and fetches nothing."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sklearn.datasets import load_digits

from cli.commands.figure import open_in_browser
from report.images import grey_levels, png_uri
from tests.browser import PHONE, keep_screenshot, opened
from tests.command_line import FAST, repro, succeed

pytestmark = pytest.mark.figures

TESTS = (14, 3)
METHODS = ("--method", "cg", "--method", "grad_dot")
HOSTILE = "</script><script>window.entered = true</script>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two test points, two methods, 40 points each."""
    folder = tmp_path_factory.mktemp("report") / "run"
    overrides = (*FAST, f"test_index={list(TESTS)}", f"output_dir={folder}")
    succeed("run", *METHODS, *overrides)
    assert "report.html" in succeed("report", *overrides)
    return folder


@pytest.fixture(scope="module")
def features_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that are no images; the path of their file and a title try to end the page's script."""
    folder = tmp_path_factory.mktemp("features")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(90, 5))
    y = (x[:, 0] + 0.5 * draw.normal(size=90) > 0).astype(int) + (x[:, 1] > 1)
    path = folder / f"{HOSTILE}.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, x_train=x[:70], y_train=y[:70], x_test=x[70:], y_test=y[70:])
    overrides = (
        "data=npz", f"data.path='{path}'", "top_k=20", "test_index=0", "plot.formats=[png]",
        f"plot.titles.cg='{HOSTILE}'", f"output_dir={folder / 'run'}",
    )  # fmt: skip
    succeed("run", "--method", "cg", *overrides)
    succeed("report", *overrides)
    return folder / "run"


@pytest.fixture
def page(browser: Browser, run: Path) -> Iterator[Page]:
    with opened(browser, run / "report.html") as found:
        yield found


def rows(run: Path, method: str, test: int = TESTS[0]) -> pd.DataFrame:
    table = pd.read_csv(run / "leave_one_out.csv")
    return table[(table["method"] == method) & (table["test_index"] == test)].set_index("train_index")


def strongest(run: Path) -> int:
    """The training point at the end of the scatter, where no other lies above it."""
    table = rows(run, "cg")
    return int(table.index.to_numpy()[table["actual_change"].argmax()])


def place_of(page: Page, index: int) -> tuple[float, float]:
    """Where the figure draws a training point, in pixels of the viewport."""
    page.locator("#figure").scroll_into_view_if_needed()
    place = page.evaluate("index => figure.data[0].customdata.indexOf(index)", index)
    box = page.locator("#figure .points path").nth(place).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def press(page: Page, key: str) -> None:
    """A key on the slider, and the frame in which it is answered."""
    page.locator("#step").focus()
    page.keyboard.press(key)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def points_shown(page: Page) -> tuple[int, int]:
    shown, total = page.inner_text("#count").split(" points")[0].split(" of ")
    return int(shown), int(total)


def assert_card_shows(page: Page, run: Path, index: int) -> None:
    expected = rows(run, "cg").loc[index]
    card = page.locator("#card")
    assert card.get_attribute("data-index") == str(index)
    text = card.inner_text().replace("−", "-")
    assert f"Training image {index}" in text
    values = dict(
        zip(card.locator("dt").all_inner_texts(), card.locator("dd").all_inner_texts(), strict=True)
    )
    assert values["class"] == str(expected["label"])
    for name, column in (("actual", "actual_change"), ("± certificate", "certificate")):
        assert float(values[name].replace("−", "-")) == pytest.approx(expected[column], rel=0.05)
    assert float(values["cg"].replace("−", "-")) == pytest.approx(expected["predicted_change"], rel=0.005)
    digit = load_digits().data[[index]]
    picture = png_uri(grey_levels(digit, 0.0, 16.0, (8, 8))[0])
    assert card.locator("img").get_attribute("src") == picture


def test_hovering_shows_the_digit_its_index_and_its_numbers(page: Page, run: Path) -> None:
    index = strongest(run)
    page.mouse.move(*place_of(page, index))
    page.wait_for_selector(f"#card[data-index='{index}']")
    assert_card_shows(page, run, index)


def test_tapping_does_the_same(browser: Browser, run: Path) -> None:
    with opened(browser, run / "report.html", viewport=PHONE, has_touch=True, is_mobile=True) as page:
        index = strongest(run)
        page.touchscreen.tap(*place_of(page, index))
        page.wait_for_selector(f"#card[data-index='{index}']")
        assert_card_shows(page, run, index)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        keep_screenshot(page, "phone")


def test_the_keyboard_goes_from_point_to_point_and_says_which(page: Page, run: Path) -> None:
    by_change = rows(run, "cg").sort_values("actual_change").index
    for key, index in (("End", by_change[-1]), ("ArrowLeft", by_change[-2]), ("Home", by_change[0])):
        press(page, key)
        assert_card_shows(page, run, int(index))
        spoken = page.locator("#step").get_attribute("aria-valuetext")
        assert spoken is not None
        assert f"training point {index}, class" in spoken


def test_filters_leave_the_points_that_the_table_has(page: Page, run: Path) -> None:
    table = rows(run, "cg")
    assert points_shown(page) == (len(table), len(table))
    page.locator("input[name=sign][value=harmful]").check()
    harmful = table[table["actual_change"] < 0]
    assert points_shown(page) == (len(harmful), len(table))
    label = int(harmful["label"].iloc[0])
    page.locator("#no-classes").click()
    assert points_shown(page) == (0, len(table))
    page.locator(f"input[name=class][value='{label}']").check()
    assert points_shown(page) == (int((harmful["label"] == label).sum()), len(table))
    page.locator("#all-classes").click()
    page.locator("input[name=sign][value=helpful]").check()
    assert points_shown(page)[0] == int((table["actual_change"] > 0).sum())


def test_methods_can_be_switched_and_shown_together(page: Page, run: Path) -> None:
    both = set(rows(run, "cg").index) | set(rows(run, "grad_dot").index)
    page.locator("input[value=grad_dot]").check()
    assert points_shown(page)[1] == len(both)
    assert page.evaluate("figure.data.map(trace => trace.name)") == ["cg", "grad_dot"]
    page.locator("input[value=cg]").uncheck()
    assert points_shown(page)[1] == len(rows(run, "grad_dot"))
    drawn = page.evaluate(
        "Object.fromEntries(figure.data[0].customdata.map((i, k) => [i, figure.data[0].y[k]]))"
    )
    expected = rows(run, "grad_dot")["predicted_change"]
    assert {int(i): y for i, y in drawn.items()} == pytest.approx(expected.to_dict(), rel=1e-4)


def test_the_card_and_the_slider_never_speak_of_another_test_point(page: Page, run: Path) -> None:
    table = pd.read_csv(run / "leave_one_out.csv")
    there = table[table["test_index"] == TESTS[1]].set_index("train_index")["actual_change"]
    here = set(table[table["test_index"] == TESTS[0]]["train_index"])
    assert here & set(there.index)
    assert here - set(there.index)
    page.locator("#behind summary").click()
    page.locator("input[value=grad_dot]").check()
    for index in (max(here & set(there.index)), max(here - set(there.index))):
        page.locator("#test").select_option("0")
        page.locator(f"#table tr[data-index='{index}'] button").click()
        assert page.locator("#card").get_attribute("data-index") == str(index)
        page.locator("#test").select_option("1")
        if index in there.index:
            actual = page.locator("#card dd").nth(1).inner_text().replace("−", "-")
            assert float(actual) == pytest.approx(there[[index]].iloc[0], rel=1e-3)
        else:
            assert page.locator("#card").get_attribute("data-index") is None
            assert page.locator("#step").get_attribute("aria-valuetext") == "no point chosen"


def test_card_table_and_figure_agree_on_what_is_selected(page: Page, run: Path) -> None:
    page.locator("#behind summary").click()
    press(page, "End")
    page.locator("#card button").click()
    assert page.locator("#table tbody tr").count() == 1
    assert page.evaluate("figure.data[0].selectedpoints") == [len(rows(run, "cg")) - 1]
    page.locator("#clear").click()
    assert page.locator("#card button").get_attribute("aria-pressed") == "false"
    assert page.locator("#table tbody tr").count() == len(rows(run, "cg"))


def test_a_ring_marks_the_point_in_the_card(page: Page, run: Path) -> None:
    press(page, "End")
    expected = rows(run, "cg").sort_values("actual_change").iloc[-1]
    ring = page.evaluate("figure.layout.shapes.at(-1)")
    assert ring["type"] == "circle"
    assert ring["xanchor"] == pytest.approx(expected["actual_change"], rel=1e-6)
    assert ring["yanchor"] == pytest.approx(expected["predicted_change"], rel=1e-6)


def test_axes_can_be_the_papers_and_the_line_can_go(page: Page) -> None:
    page.locator("input[value=paper]").check()
    assert page.evaluate("figure.layout.xaxis.range") == [-0.05, 0.05]
    assert page.evaluate("figure.layout.yaxis.range") == [-0.05, 0.05]
    assert page.evaluate("figure.layout.shapes.length") == 1
    page.locator("#identity").uncheck()
    assert page.evaluate("figure.layout.shapes.length") == 0


def test_nothing_offers_to_send_the_figure_away(page: Page) -> None:
    offered = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(e => e.dataset.title)")
    assert offered == [
        "Download plot as a PNG", "Zoom", "Pan", "Box Select", "Lasso Select", "Zoom in", "Zoom out",
        "Reset axes",
    ]  # fmt: skip


def test_a_box_selects_points_and_the_selection_can_be_cleared(page: Page, run: Path) -> None:
    table = rows(run, "cg")
    area = page.locator("#figure .nsewdrag").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    # The right half of the axes: points whose removal raises the loss.
    page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] - 1, steps=5)
    page.mouse.up()
    helpful = table[table["actual_change"] > 0]
    page.wait_for_selector("#selection:not([hidden])")
    chosen = int(page.inner_text("#selected-count").split()[0])
    # One pixel of the axes is what the box may miss.
    pixel = page.evaluate("figure.layout.xaxis.range[1]") * 2 / box["width"]
    assert (helpful["actual_change"] > 2 * pixel).sum() <= chosen <= len(helpful)
    assert page.locator("#selected-list img").count() == chosen
    page.locator("#clear").click()
    assert page.locator("#selection").is_hidden()
    assert page.evaluate("figure.data[0].selectedpoints ?? null") is None


def test_a_point_can_be_selected_by_keyboard(page: Page, run: Path) -> None:
    press(page, "End")
    page.locator("#card button").focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#selected-count").startswith("1 ")
    assert page.locator("#card button").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Enter")
    assert page.locator("#selection").is_hidden()


def test_the_table_behind_holds_the_points_shown_and_sorts(page: Page, run: Path) -> None:
    table = rows(run, "cg")
    page.locator("#behind summary").click()
    lines = page.locator("#table tbody tr")
    lines.first.wait_for()
    assert lines.count() == len(table)
    assert [int(cell) for cell in page.locator("#table tbody th").all_inner_texts()] == list(
        table.sort_values("actual_change").index
    )
    page.locator("#table thead button", has_text="training index").click()
    assert [int(cell) for cell in page.locator("#table tbody th").all_inner_texts()] == sorted(table.index)
    first = table.loc[min(table.index)]
    cells = [text.replace("−", "-") for text in lines.first.locator("td").all_inner_texts()]
    assert int(cells[0]) == first["label"]
    assert float(cells[1]) == pytest.approx(first["actual_change"], rel=1e-3)
    assert float(cells[3]) == pytest.approx(first["predicted_change"], rel=1e-3)
    page.locator("input[name=sign][value=helpful]").check()
    assert lines.count() == points_shown(page)[0]


def test_another_test_point_has_its_own_points(page: Page, run: Path) -> None:
    page.locator("#test").select_option("1")
    expected = rows(run, "cg", TESTS[1])["actual_change"]
    drawn = page.evaluate(
        "Object.fromEntries(figure.data[0].customdata.map((i, k) => [i, figure.data[0].x[k]]))"
    )
    assert {int(i): x for i, x in drawn.items()} == pytest.approx(expected.to_dict(), rel=1e-4)


def test_the_gallery_shows_who_helps_and_who_harms_in_order(page: Page, run: Path) -> None:
    table = pd.read_csv(run / "leave_one_out.csv")
    actual = table[table["test_index"] == TESTS[0]].drop_duplicates("train_index")
    helpful, harmful = page.locator("#gallery ~ article").first.locator("ol").all()
    for shown, ordered in (
        (helpful, actual.sort_values("actual_change", ascending=False)),
        (harmful, actual.sort_values("actual_change")),
    ):
        captions = shown.locator("figcaption").all_inner_texts()
        assert [int(text.split("#")[1]) for text in captions] == list(ordered["train_index"][: len(captions)])
        assert len(captions) == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_in_light_and_dark(browser: Browser, run: Path, scheme: Any) -> None:
    with opened(browser, run / "report.html", color_scheme=scheme) as page:
        press(page, "End")
        for summary in page.locator("summary").all():
            summary.click()
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        found = Axe().run(page).response["violations"]
        assert [(entry["id"], entry["nodes"][0]["html"]) for entry in found] == []
        keep_screenshot(page, scheme)
        page.locator("#theme").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
        paper = "document.querySelector('#figure .main-svg').style.background"
        assert page.evaluate(paper) == page.evaluate("getComputedStyle(document.body).backgroundColor")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_it_is_light_and_shows_the_printed_figure(browser: Browser, run: Path, scheme: Any) -> None:
    with opened(browser, run / "report.html", color_scheme=scheme) as page:
        page.emulate_media(media="print")
        expect(page.locator(".trace .main-svg").first).to_have_css("background-color", "rgb(255, 255, 255)")
        assert page.locator("#interactive").is_hidden()
        assert page.locator("img.only-print").is_visible()
        assert page.evaluate("document.querySelector('img.only-print').naturalWidth") > 500
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        keep_screenshot(page, f"print-{scheme}")


def test_without_scripts_the_verdict_and_the_figure_are_there(browser: Browser, run: Path) -> None:
    with opened(browser, run / "report.html", java_script_enabled=False) as page:
        assert "that retraining finds" in page.inner_text("p.summary >> nth=0")
        assert page.locator("noscript img.printed").is_visible()


def test_data_that_are_no_images_have_a_table_of_features(browser: Browser, features_run: Path) -> None:
    with opened(browser, features_run / "report.html") as page:
        table = page.locator("#gallery ~ article table").first
        heads = table.locator("thead th").all_inner_texts()
        assert sorted(heads[4:]) == [f"feature {j}" for j in range(5)]
        assert page.locator("#gallery ~ article img").count() == 0
        press(page, "End")
        assert "Training example" in page.inner_text("#card")
        assert Axe().run(page).response["violations"] == []
        keep_screenshot(page, "features")


def test_what_a_path_is_called_is_text_and_never_script(browser: Browser, features_run: Path) -> None:
    assert HOSTILE not in (features_run / "report.html").read_text(encoding="utf-8")
    with opened(browser, features_run / "report.html") as page:
        assert page.evaluate("window.entered === undefined")
        assert HOSTILE in page.locator("pre").first.inner_text()
        assert json.loads(page.locator("#figure-data").inner_text())["methods"][0]["title"] == HOSTILE


def test_it_is_one_file_of_a_bearable_size(run: Path) -> None:
    assert (run / "report.html").stat().st_size < 8e6


def test_the_same_run_makes_the_same_page(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    overrides = (*FAST, f"test_index={list(TESTS)}", f"output_dir={run}")
    succeed("report", *overrides)
    assert (run / "report.html").read_bytes() == before


def test_it_is_opened_only_where_somebody_can_see_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def show(address: str) -> bool:
        shown.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", show)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    assert not open_in_browser(run / "report.html")
    assert shown == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_in_browser(run / "report.html")
    assert shown == [(run / "report.html").as_uri()]


def test_before_anything_was_plotted_it_names_the_command_to_run(tmp_path: Path) -> None:
    overrides = (*FAST, f"output_dir={tmp_path / 'none'}")
    result = repro("report", *overrides)
    assert result.exit_code == 1
    assert f"repro train {shlex.join(overrides)}" in result.output
