"""What the interactive figure is given is what the table holds."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from plots.limits import Limits
from report import points as module
from report.group_points import group_figure_data, shown_members
from report.images import grey_levels, png_uri
from report.page import as_json
from report.points import drawn_points, figure_data

TITLES = {"cg": "Linear (exact, CG)"}


def table(**columns: object) -> pd.DataFrame:
    rows = {
        "method": "cg",
        "test_index": 8,
        "train_index": [3, 1, 2],
        "label": [5, 6, 5],
        "predicted_change": [0.3, -0.1, 0.2],
        "predicted_stderr": [0.0, 0.0, 0.0],
        "actual_change": [0.31, -0.12, 0.19],
        "certificate": [1e-7, 2e-7, 3e-7],
        "selection": "influential",
    }
    return pd.DataFrame(rows | columns)


def test_columns_come_in_the_order_of_the_training_index() -> None:
    [found] = figure_data(table(), TITLES).tests
    assert found.train_index == [1, 2, 3]
    assert found.actual == [-0.12, 0.19, 0.31]
    assert found.predictions["cg"].change == [-0.1, 0.2, 0.3]
    assert found.left_out == 0


def test_a_method_has_only_the_points_it_chose() -> None:
    other = table(method="lissa", train_index=[7, 1, 2], predicted_change=[0.5, -0.11, 0.21])
    [found] = figure_data(pd.concat([table(), other]), TITLES).tests
    assert found.train_index == [1, 2, 3, 7]
    assert found.predictions["cg"].has == [True, True, True, False]
    assert found.predictions["lissa"].has == [True, True, False, True]
    assert found.predictions["lissa"].change == [-0.11, 0.21, None, 0.5]


def test_what_is_not_finite_becomes_none_and_the_rest_is_json() -> None:
    wild = table(predicted_change=[math.inf, math.nan, 0.2], predicted_stderr=[math.nan, 0.1, 0.1])
    found = json.loads(as_json(figure_data(wild, {})))
    assert found["tests"][0]["predictions"]["cg"]["change"] == [None, 0.2, None]
    assert found["methods"] == [{"name": "cg", "title": "cg"}]


def test_the_scripts_are_given_these_names() -> None:
    assert as_json(figure_data(table(), TITLES)) == (
        '{"methods":[{"name":"cg","title":"Linear (exact, CG)"}],"classes":[5,6],"tests":[{"index":8,'
        '"train_index":[1,2,3],"label":[6,5,5],"actual":[-0.12,0.19,0.31],"certificate":[2e-07,3e-07,1e-07],'
        '"predictions":{"cg":{"change":[-0.1,0.2,0.3],"stderr":[0.0,0.0,0.0],"has":[true,true,true],'
        '"limits":{"actual":0.4,"predicted":0.4,"own":false}}},"left_out":0}]}'
    )


def test_the_script_of_groups_is_given_these_names() -> None:
    groups = table().drop(columns="train_index").assign(removal=[2, 0, 1], predicted_certificate=np.nan)
    influence = {8: np.array([0.1, -0.3, 0.2])}
    figure = group_figure_data(groups, [(0, 1), (1, 2), (0,)], np.array([5, 6, 5]), influence, {})
    assert shown_members(figure) == [0, 1, 2]
    assert as_json(figure) == (
        '{"methods":[{"name":"cg","title":"cg"}],"sizes":[2,2,1],"classes":[[[5,1],[6,1]],[[5,1],[6,1]],'
        '[[5,1]]],"tests":[{"index":8,"removal":[0,1,2],"actual":[-0.12,0.19,0.31],'
        '"certificate":[2e-07,3e-07,1e-07],"predictions":{"cg":{"change":[-0.1,0.2,0.3],'
        '"stderr":[0.0,0.0,0.0],"certificate":[null,null,null]}},"members":[[1,0],[1,2],[0]]}]}'
    )


def test_limits_leave_room_for_every_point() -> None:
    [found] = figure_data(table(), TITLES).tests
    assert found.predictions["cg"].limits == Limits(actual=0.4, predicted=0.4)


def test_too_many_points_leave_those_of_largest_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 2)
    [found] = figure_data(table(), TITLES).tests
    assert found.train_index == [2, 3]
    assert found.left_out == 1
    assert drawn_points(table()) == [2, 3]


def test_pictures_are_ink_on_paper() -> None:
    features = np.array([[0.0, 0.5, 1.0, 2.0]])
    assert grey_levels(features, 0.0, 1.0, (2, 2)).tolist() == [[[255, 128], [0, 0]]]
    assert grey_levels(np.zeros((1, 4)), 0.0, 0.0, (2, 2)).max() == 0


def test_a_picture_comes_back_as_it_was() -> None:
    import base64
    from io import BytesIO

    from PIL import Image

    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    uri = png_uri(levels)
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(BytesIO(content))), levels)
