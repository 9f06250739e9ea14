"""Mass around Sgr A*, against discs and rings whose mass is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from iris_cli.config.grid import Grid
from iris_cli.evaluation.radial_profiles import Annuli
from iris_cli.standard.top_down_plane import Plane

GRID = Grid().scaled(256, 256, 16, 256)
DEPTH_PC = 2 * 8277.0 * np.sin(np.deg2rad(GRID.latitude.edges()[-1]))


def annuli(grid=GRID):
    made = Annuli.of(grid)
    assert made is not None
    return made


def image(density):
    return torch.from_numpy(np.ascontiguousarray(density))[None, None]


def test_a_uniform_slab_encloses_density_times_area_times_depth():
    rings = annuli()
    mass = rings.enclosed_mass(torch.full((1, 1, 256, 256), 3.0, dtype=torch.float64))[0].numpy()
    expected = 3.0 * np.pi * rings.edges_pc[1:] ** 2 * DEPTH_PC
    np.testing.assert_allclose(mass[3:], expected[3:], rtol=0.01)
    np.testing.assert_allclose(mass, expected, rtol=0.04)  # the innermost rings are a few pixels wide


def test_the_surface_density_of_an_exponential_disc_is_that_of_the_disc():
    rings, radius = annuli(), Plane.of(GRID).radius_pc
    seen = rings.surface_density(image(np.exp(-radius / 60.0)))[0].numpy()
    expected = DEPTH_PC * np.exp(-rings.centres_pc / 60.0)
    np.testing.assert_allclose(seen[1:], expected[1:], rtol=0.01)
    assert seen[0] == pytest.approx(expected[0], rel=0.03)  # the mean over the innermost ring is not its middle


def test_a_ring_of_gas_has_no_mass_inside():
    rings, radius = annuli(), Plane.of(GRID).radius_pc
    seen = rings.mass(image((radius > 95.0) & (radius < 105.0)).double())[0].numpy()
    assert 90.0 < rings.centres_pc[np.argmax(seen)] < 110.0
    assert seen[rings.edges_pc[1:] < 95.0].sum() == 0.0


def test_masses_of_rings_add_up_to_the_mass_within_the_largest():
    rings, plane = annuli(), Plane.of(GRID)
    density = np.random.default_rng(0).random((256, 256))
    inside = plane.radius_pc < rings.edges_pc[-1]
    total = rings.enclosed_mass(image(density))[0, -1].item()
    assert total == pytest.approx((density * plane.volume_pc3)[inside].sum())


def test_a_map_without_the_centre_has_no_profile():
    assert Annuli.of(replace(GRID, r_crop_min=200)) is None
