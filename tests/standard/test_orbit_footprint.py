"""The footprint of gas on the published orbits, and the agreement of maps with observations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.standard.orbit import WALKER_2025
from iris_cli.standard.orbit_check import ORBITS, compare, footprint_of, line_of_sight_velocity, reobserve, significant

GRID = GRID_PRESETS["small"]


@pytest.fixture(scope="module")
def ring() -> np.ndarray:
    """(R', L) gas within 8 pc of the Walker et al. ellipse."""
    r, lon = GRID.distance.centres()[:, None], np.deg2rad(GRID.longitude.centres())[None, :]
    x, y = GRID.observer_distance_pc - r * np.cos(lon), -r * np.sin(lon)
    return np.exp(-0.5 * (WALKER_2025.offset(*WALKER_2025.plane(x, y)) / 8.0) ** 2)


def test_gas_at_positive_longitude_recedes() -> None:
    v = line_of_sight_velocity(GRID, WALKER_2025)
    assert v[:, GRID.longitude.centres() > 0.3].mean() > 50 and v[:, GRID.longitude.centres() < -0.3].mean() < -50


def test_the_footprint_follows_the_published_track_and_conserves_mass(shared_data: Path, ring: np.ndarray) -> None:
    track = np.loadtxt(shared_data / "cmz_orbits/ellipse_resampled_300.txt", usecols=(0, 2))
    image = reobserve(ring, GRID, WALKER_2025)
    assert image.sum() * GRID.velocity.step == pytest.approx(ring.sum() * GRID.distance.step, rel=1e-3)
    footprint = footprint_of(image, 0.95)
    lon = np.clip(np.searchsorted(GRID.longitude.edges(), track[:, 0]) - 1, 0, GRID.lon_steps - 1)
    v = np.clip(np.searchsorted(GRID.velocity.edges(), track[:, 1]) - 1, 0, GRID.v_steps - 1)
    assert footprint[lon, v].mean() > 0.9
    assert footprint.mean() < 0.35


def test_a_true_map_explains_its_observation_unless_the_rotation_is_reversed(ring: np.ndarray) -> None:
    seen = reobserve(ring, GRID, WALKER_2025)
    found = {a.orbit: a for a in compare(seen, np.ones_like(seen), ring, GRID)}
    assert found.keys() == ORBITS.keys()
    own = found["Walker et al. 2025"]
    assert own.explained == pytest.approx(0.9, abs=0.03)
    assert own.chance < 0.35 and own.reversed < 0.5 * own.explained and own.centroid_km_s < 5
    other = compare(seen[:, ::-1], np.ones_like(seen), ring, GRID)[0]
    assert other.explained < 0.5 and other.centroid_km_s is not None and other.centroid_km_s > 60


def test_unobserved_pixels_do_not_count(ring: np.ndarray) -> None:
    seen = reobserve(ring, GRID, WALKER_2025)
    half = np.zeros_like(seen)
    half[GRID.lon_steps // 2 :] = 1.0
    agreement = compare(seen * half, half, ring, GRID)[0]
    assert agreement.explained == pytest.approx(0.9, abs=0.03)


def test_without_gas_or_emission_nothing_is_explained(ring: np.ndarray) -> None:
    nothing = np.zeros((GRID.lon_steps, GRID.v_steps))
    for seen, density in ((nothing, ring), (nothing + 1.0, np.zeros(GRID.density_shape[1:]))):
        agreement = compare(seen, np.ones_like(nothing), density, GRID)[0]
        assert agreement.explained == 0.0 and agreement.centroid_km_s is None


def test_noise_does_not_count_as_emission() -> None:
    noise = np.random.default_rng(0).standard_normal((128, 128))
    noise[40:50, 40:50] += 20
    bright = significant(noise)
    assert (bright > 0).sum() < 100 + 0.004 * noise.size
    np.testing.assert_array_equal(significant(np.abs(noise)), np.abs(noise))


def test_a_cropped_grid_uses_its_remaining_distances() -> None:
    cropped = replace(GRID, r_crop_min=32, r_crop_max=96)
    whole = line_of_sight_velocity(GRID, WALKER_2025)
    np.testing.assert_allclose(line_of_sight_velocity(cropped, WALKER_2025), whole[32:96])
