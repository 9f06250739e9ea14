"""Axes, stretches and colour bars of every figure."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from iris_cli.axes import Axis
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.errors import UsageError
from iris_cli.plots import axes_of_sky
from iris_cli.plots.axes_of_sky import colour_bar, draw_from_north, draw_lb, draw_lv, draw_top_down, stretch
from iris_cli.plots.images import draw_top_down_figure

GRID = GRID_PRESETS["tiny"].scaled(16, 12, 4, 10)


def panel():
    return Figure().subplots()


def test_longitude_increases_to_the_left_and_a_receding_cloud_is_above():
    image = np.zeros((12, 10))
    image[11, 9] = 1.0  # greatest longitude, fastest receding
    ax = panel()
    drawn = draw_lv(ax, image, GRID)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert left > right and bottom < top and left == pytest.approx(GRID.longitude.edges()[-1])
    assert drawn.get_extent() == pytest.approx((right, left, bottom, top)) and drawn.get_array()[-1, -1] == 1.0
    assert "longitude" in ax.get_xlabel() and "km/s" in ax.get_ylabel()
    draw_lv(panel(), np.zeros((12, 10)), GRID)  # an empty image
    lon, v = Axis("longitude", "deg", 55.0, 56.0, 6), Axis("velocity", "km / s", -5.0, 85.0, 10)
    draw_lv(ax, np.ones((6, 10)), (lon, v))  # an image with axes of its own
    assert ax.get_xlim() == pytest.approx((56.1, 54.9)) and ax.get_ylim() == pytest.approx((-10.0, 90.0))


def test_the_observer_is_below_the_map_of_the_network():
    image = np.zeros((4, 12))
    image[0, 0] = 1.0  # nearest, least longitude
    ax = panel()
    drawn = draw_top_down(ax, image, replace(GRID, r_crop_min=2, r_crop_max=6))
    bottom, top = GRID.distance.edges()[[2, 6]]
    assert ax.get_ylim() == pytest.approx((bottom, top)) and "pc" in ax.get_ylabel()
    assert drawn.get_array()[0, 0] == 1.0 and drawn.get_extent()[2:] == pytest.approx((bottom, top))


def test_a_wedge_is_narrower_where_it_is_near_and_a_crop_of_it_keeps_its_position():
    drawn = draw_from_north(panel(), np.ones((16, 12)), GRID)
    across = np.ptp(drawn.get_coordinates()[..., 0], axis=1)
    assert across[-1] / across[0] == pytest.approx(GRID.distance.edges()[-1] / GRID.distance.edges()[0])
    ax = panel()
    draw_from_north(ax, np.ones((6, 12)), replace(GRID, r_crop_min=10, r_crop_max=16))
    assert ax.get_ylim()[0] > 0  # all of it is behind Sgr A*


def test_a_map_of_the_sky_has_equal_scales_along_both_axes():
    lon, lat = Axis("longitude", "deg", -1.0, 1.0, 5), Axis("latitude", "deg", -0.2, 0.2, 3)
    image = np.zeros((3, 5))
    image[2, 4] = 1.0
    ax = panel()
    drawn = draw_lb(ax, image, lon, lat, stretch(image))
    assert ax.get_xlim() == pytest.approx((1.25, -1.25)) and ax.get_aspect() == 1.0
    assert drawn.get_array()[2, 4] == 1.0 and drawn.get_extent() == pytest.approx((-1.25, 1.25, -0.3, 0.3))
    assert "latitude" in ax.get_ylabel()


@pytest.mark.parametrize("name", axes_of_sky.STRETCHES)
def test_every_stretch_increases_from_the_darkest_to_the_brightest(name):
    norm = stretch(np.array([0.0, 1.0, 50.0]), None, name)
    shades = np.asarray(norm(np.array([0.06, 0.5, 5.0, 50.0])))
    assert (np.diff(shades) > 0).all() and shades[-1] == pytest.approx(1.0) and shades[0] >= 0.0
    assert np.isfinite(np.asarray(norm(np.array([0.0])))).all()
    assert stretch(np.array([1.0, np.nan, np.inf]), None, name).vmax == 1.0  # of the finite values


def test_an_unknown_stretch_and_an_empty_range_are_refused():
    with pytest.raises(UsageError, match="unknown stretch 'asin'"):
        stretch(np.ones(3), None, "asin")
    with pytest.raises(UsageError, match="from 5 to 1"):
        stretch(np.ones(3), None, "linear", 5.0)


def test_a_colour_bar_has_quantity_and_unit_and_few_ticks():
    figure = draw_top_down_figure(np.linspace(0, 45, 192).reshape(16, 12), GRID)
    bar = figure.axes[1]
    assert bar.get_ylabel() == axes_of_sky.label("density") and "pc$^{-3}$" in bar.get_ylabel()
    ax = panel()
    drawn = draw_lv(ax, np.linspace(0, 45, 120).reshape(12, 10), GRID)
    ticks = colour_bar(drawn, ax, "x").get_ticks()
    assert ticks.tolist() == pytest.approx([0.0, 1.0, 2.0, 5.0, 10.0, 20.0])
