"""The footprint of gas on the published orbits."""

from dataclasses import replace

import numpy as np
import pytest

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.standard.orbit import WALKER_2025
from iris_cli.standard.orbit_footprint import footprint_of, line_of_sight_velocity, reobserve
from tests.mock.reference import across_pc

GRID = GRID_PRESETS["small"]


@pytest.fixture(scope="module")
def ring():
    """(R', L) gas within 8 pc of the Walker et al. ellipse."""
    r, lon = GRID.distance.centres()[:, None], np.deg2rad(GRID.longitude.centres())[None, :]
    x, y = GRID.observer_distance_pc - r * np.cos(lon), -r * np.sin(lon)
    return np.exp(-0.5 * (across_pc(WALKER_2025, *WALKER_2025.plane(x, y)) / 8.0) ** 2)


def test_gas_at_positive_longitude_recedes():
    v = line_of_sight_velocity(GRID, WALKER_2025)
    assert v[:, GRID.longitude.centres() > 0.3].mean() > 50 and v[:, GRID.longitude.centres() < -0.3].mean() < -50


def test_the_footprint_follows_the_published_track_and_conserves_mass(orbit_track, ring):
    track_lon, _, track_v, _ = orbit_track
    image = reobserve(ring, GRID, WALKER_2025)
    assert image.sum() * GRID.velocity.step == pytest.approx(ring.sum() * GRID.distance.step, rel=1e-3)
    footprint = footprint_of(image, 0.95)
    lon = np.clip(np.searchsorted(GRID.longitude.edges(), track_lon) - 1, 0, GRID.lon_steps - 1)
    v = np.clip(np.searchsorted(GRID.velocity.edges(), track_v) - 1, 0, GRID.v_steps - 1)
    assert footprint[lon, v].mean() > 0.9
    assert footprint.mean() < 0.35


def test_an_empty_map_has_no_footprint():
    assert not footprint_of(reobserve(np.zeros(GRID.density_shape[1:]), GRID, WALKER_2025)).any()


def test_a_cropped_grid_uses_its_remaining_distances():
    cropped = replace(GRID, r_crop_min=32, r_crop_max=96)
    whole = line_of_sight_velocity(GRID, WALKER_2025)
    np.testing.assert_allclose(line_of_sight_velocity(cropped, WALKER_2025), whole[32:96])
