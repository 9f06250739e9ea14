"""Positions and sizes of the pixels of a view from above."""

from dataclasses import replace

import numpy as np
import pytest

from iris_cli.config.grid import Grid
from iris_cli.standard.grid import cells
from iris_cli.standard.top_down_plane import Plane, position_pc

GRID = Grid().scaled(90, 60, 8, 8)


def test_longitude_increases_to_the_left_and_distance_away_from_the_sun():
    left, away = position_pc(np.array([8277.0, 8300.0]), np.array([1.0, 0.0]), GRID)
    assert left[0] == pytest.approx(8277.0 * np.sin(np.deg2rad(1.0))) and away[1] == pytest.approx(23.0)


def test_pixels_have_the_positions_of_the_cells_of_a_tensor():
    plane, there = Plane.of(GRID), cells(GRID, view_deg=0.0)
    middle = 0.5 * (there.x[:, :, 3] + there.x[:, :, 4])  # on either side of latitude 0
    np.testing.assert_allclose(plane.away_pc, -middle, atol=0.03)
    np.testing.assert_allclose(plane.left_pc, -there.y[:, :, 3], atol=0.03)


def test_areas_and_volumes_add_up_to_those_of_the_grid():
    plane, (near, far) = Plane.of(GRID), GRID.distance.edges()[[0, -1]]
    lon = np.deg2rad(np.diff(GRID.longitude.edges()[[0, -1]])[0])
    sin_b = np.sin(np.deg2rad(GRID.latitude.edges()[-1]))
    assert plane.area_pc2.sum() == pytest.approx(lon * (far**2 - near**2) / 2.0)
    assert plane.volume_pc3.sum() == pytest.approx(lon * (far**3 - near**3) / 3.0 * 2.0 * sin_b)


def test_a_cropped_map_may_exclude_the_centre():
    far = replace(GRID, r_crop_min=60, r_crop_max=90)
    assert Plane.of(far).away_pc.shape == (30, 60) and Plane.of(far).away_pc.min() > 0
    assert Plane.of(far).complete_radius_pc < 0 < Plane.of(GRID).complete_radius_pc < 228
