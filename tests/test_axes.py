import numpy as np
import pytest

from iris_cli import axes
from iris_cli.axes import Axis


def test_limits_are_centres_and_edges_are_half_a_step_outside():
    axis = Axis("velocity", "km / s", -200.0, 200.0, 5)
    assert axis.centres().tolist() == [-200.0, -100.0, 0.0, 100.0, 200.0]
    assert axis.edges().tolist() == [-250.0, -150.0, -50.0, 50.0, 150.0, 250.0]
    single = Axis("latitude", "deg", -0.5, 1.5, 1)  # fills its range
    assert single.centres().tolist() == [0.5] and single.edges().tolist() == [-0.5, 1.5]


def test_reversing_velocity_reverses_the_last_axis():
    assert axes.reverse_velocity(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist() == [[3, 2, 1], [6, 5, 4]]


def test_turning_over_reverses_longitude_and_latitude_only():
    tensor = np.arange(2 * 3 * 4, dtype=float).reshape(1, 2, 3, 4)
    turned = axes.turn_over(tensor)
    assert turned[0, 1, 0, 0] == tensor[0, 1, 2, 3]
    assert np.array_equal(axes.turn_over(turned), tensor)


@pytest.mark.parametrize("steps", [2, 7, 512])
def test_the_step_is_the_distance_between_neighbours(steps):
    axis = Axis("distance", "pc", 8052.0, 8502.0, steps)
    assert np.diff(axis.centres()) == pytest.approx(axis.step)
