"""The gallery shows the right images in order, with their numbers, and says so when there are none."""

import io
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from pandas import DataFrame

from erm.data.digits import load_digits
from plots.gallery import NO_HARMFUL, NO_HELPFUL, WIDTH, TestExample, draw_gallery, format_change
from plots.style import save
from repro.drawing.figures import _test_example
from tests.figure_parts import assert_texts_are_apart, texts
from tests.problems import fitted_digits

IMAGES = np.random.default_rng(0).uniform(size=(60, 28, 28))


def ranked(indices: list[int], sign: float = 1.0) -> DataFrame:
    changes = [sign * 0.03 / (1 + place) for place in range(len(indices))]
    return DataFrame({"train_index": indices, "label": 5, "actual_change": changes, "certificate": 0.0})


def gallery(helpful: list[int], harmful: list[int], images: np.ndarray = IMAGES, method: str = "M") -> Figure:
    test = TestExample(index=8, image=images[0], label=5, predicted_class=6, loss=3.24091)
    predicted = {index: 0.5 * index for index in helpful[:1] + harmful[:1]}
    return draw_gallery(test, ranked(helpful), ranked(harmful, -1.0), images, predicted, method, 1234)


def drawn(figure: Figure, gid: str) -> list[AxesImage]:
    return [image for image in figure.axes[0].images if image.get_gid() == gid]


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (4, 9), (12, 3)])
def test_images_stand_in_order_inside_the_page_with_square_pixels(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).uniform(size=(60, *shape))
    figure = gallery([9, 3, 27, 8, 1, 40, 5, 2], [50, 51, 4], images)
    for gid, indices in (("helpful image", [9, 3, 27, 8, 1, 40, 5, 2]), ("harmful image", [50, 51, 4])):
        found = drawn(figure, gid)
        assert len(found) == len(indices)
        for image, index in zip(found, indices, strict=True):
            np.testing.assert_array_equal(image.get_array(), images[index])
        lefts, rights, bottoms, tops = np.array([image.get_extent() for image in found]).T
        assert lefts.min() > 0
        assert rights.max() < WIDTH
        assert bottoms.max() < figure.get_figheight()
        np.testing.assert_allclose((rights - lefts) / shape[1], (bottoms - tops) / shape[0])
        # Read like a page: rows downwards, each to the right.
        assert list(zip(tops, lefts, strict=True)) == sorted(zip(tops, lefts, strict=True))
        assert len(set(zip(tops, lefts, strict=True))) == len(indices)
    (test,) = drawn(figure, "test image")
    np.testing.assert_array_equal(test.get_array(), images[0])


def test_all_images_share_one_grey_scale() -> None:
    images = IMAGES.copy()
    images[3] *= 0.5
    images[4] -= 2.0
    scales = {image.get_clim() for image in gallery([3], [4, 5], images).axes[0].images}
    assert scales == {(images[4].min(), images[[0, 3, 5]].max())}


def test_captions_name_label_index_actual_and_predicted_change() -> None:
    figure = gallery([7, 3], [4])
    assert texts(figure, "helpful caption") == ["5 · 7\n+0.0300\n(+3.50)", "5 · 3\n+0.0150\n(–)"]
    assert texts(figure, "harmful caption") == ["5 · 4\n−0.0300\n(+2.00)"]
    assert texts(figure, "test title") == ["Test point 8"]
    assert texts(figure, "test") == ["label 5\npredicted class 6\nloss 3.24"]
    (key,) = texts(figure, "key")
    assert key.startswith("label · index\nactual change\n(predicted change,\nM)\n\n")
    assert key.replace("\n", " ").endswith("Of 1,234 training points that were left out.")


@pytest.mark.parametrize(
    ("helpful", "harmful", "words"),
    [([], [4], [NO_HELPFUL]), ([4], [], [NO_HARMFUL]), ([], [], [NO_HELPFUL, NO_HARMFUL]), ([1], [2], [])],
)
def test_where_there_are_none_words_say_so(helpful: list[int], harmful: list[int], words: list[str]) -> None:
    figure = gallery(helpful, harmful)
    assert texts(figure, "nothing") == words
    assert len(drawn(figure, "helpful image")) == len(helpful)


@pytest.mark.parametrize("counts", [(12, 12), (3, 0), (0, 0)])
@pytest.mark.parametrize("shape", [(28, 28), (3, 9)])
def test_texts_stay_inside_apart_and_clear_of_images(counts: tuple[int, int], shape: tuple[int, int]) -> None:
    images = np.broadcast_to(np.random.default_rng(0).uniform(size=shape), (60_000, *shape))
    helpful, harmful = (
        list(range(first, first + n)) for first, n in zip((50_000, 55_000), counts, strict=True)
    )
    figure = gallery(helpful, harmful, images, method="Linear (approx, tuned)")
    boxes = assert_texts_are_apart(figure)
    for image in figure.axes[0].images:
        assert not any(image.get_window_extent().overlaps(box) for box in boxes)


def test_writing_is_reproducible() -> None:
    for file_format in ("png", "pdf"):
        written = [io.BytesIO(), io.BytesIO()]
        for buffer in written:
            save(gallery([1, 2], [3]), buffer, file_format)
        assert written[0].getvalue() == written[1].getvalue()


def test_changes_keep_three_digits_and_their_sign() -> None:
    shown = [format_change(change) for change in (0.03, -1.234e-5, 123.4, -2.0, 0.0, math.nan, math.inf)]
    assert shown == ["+0.0300", "−1.23e−05", "+123", "−2.00", "0", "not finite", "not finite"]


def test_the_test_example_is_what_the_model_makes_of_it() -> None:
    data = load_digits(num_train=300)
    risk, fit = fitted_digits(300)
    weights = fit.theta.reshape(10, 64).numpy()
    for index in (0, 14):
        scores = weights @ data.x_test[index]
        found = _test_example(data, risk, fit.theta, index)
        assert found.predicted_class == scores.argmax()
        assert found.label == data.y_test[index]
        assert found.loss == pytest.approx(
            float(torch.logsumexp(torch.from_numpy(scores), 0)) - scores[found.label]
        )
        np.testing.assert_array_equal(found.image, data.x_test[index].reshape(8, 8))
