"""What the axes of a panel show, and when panels share it."""

import numpy as np
import pytest

from plots.limits import nice_limit, row_limits
from tests.figure_parts import draw, offsets, rows, texts


def test_faithful_panels_have_equal_aspect_and_share_limits_that_hold_every_point() -> None:
    exact, half = rows(), rows("lissa", predicted_change=0.5 * rows()["predicted_change"])
    panels = draw(exact, half).axes
    for panel in panels:
        assert panel.get_aspect() == 1.0
        assert panel.get_xlim() == panel.get_ylim() == (-0.04, 0.04)
        assert np.abs(offsets(panel, "points")).max() < 0.04


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


def test_test_points_have_limits_of_their_own() -> None:
    first, second = draw(rows(test_index=8), rows(test_index=33, scale=0.01)).axes
    assert (first.get_xlim(), second.get_xlim()) == ((-0.04, 0.04), (-4e-4, 4e-4))
    assert texts(second, "notes") == []


def test_given_limits_are_taken_as_they_are() -> None:
    panel = draw(rows(), limits=0.05).axes[0]
    assert panel.get_xlim() == panel.get_ylim() == (-0.05, 0.05)


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
