"""The images behind the numbers: a test point, and the training points that help and harm it most.

Everything stands in one pair of axes in inches, because axes of their own for each image take a second.
"""

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pandas import DataFrame

from plots.style import BLUE, DARK, MUTED, NOTE_SIZE, TITLE_SIZE, VERMILLION, minus, styled

WIDTH = 6.75
"""Inches: the text of a page with two columns."""
PER_ROW = 6
# Inches.
MARGIN = 0.08
TEST_SIDE = 1.3
BLOCK_LEFT = 1.68
PITCH = (WIDTH - BLOCK_LEFT - MARGIN) / PER_ROW
SIDE = 0.64
LINE = 0.13
LINE_SPACING = 1.33
HEADING = 0.24
CAPTION = 3 * LINE + 0.1
BLOCK_GAP = 0.1
IMAGE_GAP = 0.05
KEY_CHARACTERS = 22

HELPFUL = "Most helpful: removing one raises the loss of the test point"
HARMFUL = "Most harmful: removing one lowers the loss of the test point"
NO_HELPFUL = "None: no removal raises the loss by more than its certificate."
NO_HARMFUL = "None: no removal lowers the loss by more than its certificate."


@dataclass(frozen=True, kw_only=True, slots=True)
class TestExample:
    """A test point and what the model makes of it."""

    __test__ = False  # The name is not that of a test.

    index: int
    image: Num[np.ndarray, "height width"]
    label: int
    predicted_class: int
    loss: float
    """ℓ(z_test, θ̂), cross-entropy without L2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Training images of one kind."""

    gid: str
    heading: str
    none: str
    """What to say when there are none."""
    color: str
    rows: DataFrame

    @property
    def height(self) -> float:
        num_rows = math.ceil(len(self.rows) / PER_ROW)
        return HEADING + (num_rows * (SIDE + CAPTION) if num_rows else LINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Axes in inches from the upper left corner, and the values that are white and black on them."""

    axes: Axes
    white: float
    black: float

    def write(
        self, x: float, y: float, text: str, gid: str, color: str = DARK, size: float = NOTE_SIZE
    ) -> None:
        """Text whose upper left corner is at x, y."""
        written = self.axes.text(x, y, text, color=color, fontsize=size, va="top", linespacing=LINE_SPACING)
        written.set_gid(gid)

    def draw(
        self, image: Num[np.ndarray, "height width"], x: float, y: float, side: float, gid: str, color: str
    ) -> float:
        """The image as large as fits a square whose upper left corner is at x, y, framed; where it ends."""
        width, height = _drawn_size(image, side)
        drawn = self.axes.imshow(
            image,
            extent=(x, x + width, y + height, y),
            cmap="gray_r",
            vmin=self.white,
            vmax=self.black,
            interpolation="nearest",
        )
        drawn.set_gid(gid)
        self.axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=0.8))
        return y + height


def draw_gallery(
    test: TestExample,
    helpful: DataFrame,
    harmful: DataFrame,
    images: Num[np.ndarray, "n height width"],
    predicted: Mapping[int, float],
    method: str,
    num_ranked: int,
) -> Figure:
    """The test image at the left, at its right a block of helpful and one of harmful training images.

    All images share one grey scale: the smallest value of those shown is white, the largest black.

    Args:
        test: the test point.
        helpful: rows as `plots.ranking.most_helpful` returns them, drawn in this order.
        harmful: rows as `plots.ranking.most_harmful` returns them.
        images: the training images by index.
        predicted: a method's predicted changes by training index; a point that it lacks has a dash.
        method: the title of this method.
        num_ranked: training points that were left out, and so could be among the helpful or harmful.

    Returns:
        The figure, to be written with `plots.style.save`.
    """
    blocks = (
        Block(gid="helpful", heading=HELPFUL, none=NO_HELPFUL, color=BLUE, rows=helpful),
        Block(gid="harmful", heading=HARMFUL, none=NO_HARMFUL, color=VERMILLION, rows=harmful),
    )
    key = _key(method, num_ranked)
    height = 2 * MARGIN + max(sum(block.height for block in blocks) + BLOCK_GAP, _test_height(test, key))
    shown = [test.image, *(images[index] for block in blocks for index in block.rows["train_index"])]
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        page = Page(
            axes=figure.add_axes((0, 0, 1, 1)),
            white=min(float(image.min()) for image in shown),
            black=max(float(image.max()) for image in shown),
        )
        _draw_test(page, test, key)
        top = MARGIN
        for block in blocks:
            _draw_block(page, block, images, predicted, top)
            top += block.height + BLOCK_GAP
        page.axes.set_axis_off()
        # After the images, which set limits of their own.
        page.axes.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="auto")
    return figure


def _key(method: str, num_ranked: int) -> str:
    """What the captions say, and among how many points the images were found."""
    among = textwrap.fill(f"Of {num_ranked:,} training points that were left out.", KEY_CHARACTERS)
    named = textwrap.fill(f"{method})", KEY_CHARACTERS)
    return f"label · index\nactual change\n(predicted change,\n{named}\n\n{among}"


def _test_height(test: TestExample, key: str) -> float:
    """Of title, image, the lines about it and, after an empty one, the key."""
    num_lines = 4 + key.count("\n") + 1
    return HEADING + _drawn_size(test.image, TEST_SIDE)[1] + IMAGE_GAP + num_lines * LINE


def _draw_test(page: Page, test: TestExample, key: str) -> None:
    page.write(MARGIN, MARGIN, f"Test point {test.index}", "test title", size=TITLE_SIZE)
    top = page.draw(test.image, MARGIN, MARGIN + HEADING, TEST_SIDE, "test image", DARK) + IMAGE_GAP
    lines = f"label {test.label}\npredicted class {test.predicted_class}\nloss {test.loss:.3g}"
    color = DARK if test.predicted_class == test.label else VERMILLION
    page.write(MARGIN, top, lines, "test", color)
    page.write(MARGIN, top + 4 * LINE, key, "key", MUTED)


def _draw_block(
    page: Page,
    block: Block,
    images: Num[np.ndarray, "n height width"],
    predicted: Mapping[int, float],
    top: float,
) -> None:
    """The heading, and rows of images with their captions."""
    page.write(BLOCK_LEFT, top, block.heading, block.gid, block.color, TITLE_SIZE)
    top += HEADING
    if block.rows.empty:
        page.write(BLOCK_LEFT, top, block.none, "nothing")
    columns = (block.rows[name].tolist() for name in ("train_index", "label", "actual_change"))
    for place, (index, label, actual) in enumerate(zip(*columns, strict=True)):
        row, column = divmod(place, PER_ROW)
        x, y = BLOCK_LEFT + column * PITCH, top + row * (SIDE + CAPTION)
        bottom = page.draw(images[index], x, y, SIDE, f"{block.gid} image", block.color)
        expected = format_change(predicted[index]) if index in predicted else "–"
        caption = f"{label} · {index}\n{format_change(actual)}\n({expected})"
        page.write(x, bottom + IMAGE_GAP, caption, f"{block.gid} caption")


def _drawn_size(image: Num[np.ndarray, "height width"], side: float) -> tuple[float, float]:
    """Width and height of the image in inches, the larger of them `side`."""
    pixel = side / max(image.shape)
    return image.shape[1] * pixel, image.shape[0] * pixel


def format_change(change: float) -> str:
    """Sign and three digits: +0.0312, −1.20e−05, 0."""
    if not math.isfinite(change):
        return "not finite"
    return minus(f"{change:+#.3g}".removesuffix(".")) if change else "0"
