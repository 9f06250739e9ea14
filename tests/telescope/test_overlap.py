"""Areas of pixels in cells: known areas, and no gap between neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iris_cli.telescope.overlap import area_in_cell, quad_overlap


def test_the_areas_of_simple_quadrilaterals_are_known():
    square = np.array([[0.25, 0.75, 0.75, 0.25]]), np.array([[0.5, 0.5, 2.0, 2.0]])
    assert area_in_cell(*square)[0] == pytest.approx(0.25)
    diamond = np.array([[0.5, 1.5, 0.5, -0.5]]), np.array([[-0.5, 0.5, 1.5, 0.5]])
    assert area_in_cell(*diamond)[0] == pytest.approx(1.0)
    smaller = np.array([[0.5, 1.25, 0.5, -0.25]]), np.array([[-0.25, 0.5, 1.25, 0.5]])
    assert area_in_cell(*smaller)[0] == pytest.approx(1.0 - 4 * 0.5 * 0.25**2)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 3.0), st.floats(-80, 80), st.integers(0, 10_000))
def test_a_tiling_fills_every_cell_once(size, angle_deg, seed):
    """Pixels that tile the plane, rotated, sheared and of any size, cover each cell exactly once."""
    rng = np.random.default_rng(seed)
    n = int(24 / size) + 2
    u, v = np.meshgrid(np.arange(n + 1) - n / 2, np.arange(n + 1) - n / 2)
    cos, sin, shear = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg)), rng.uniform(-0.3, 0.3)
    x = 4.0 + size * (cos * u - sin * v) + shear * v * size * 0.3 + rng.uniform(0, 1)
    y = 3.0 + size * (sin * u + cos * v)
    quads = [np.stack([a[:-1, :-1], a[:-1, 1:], a[1:, 1:], a[1:, :-1]], -1).reshape(-1, 4) for a in (x, y)]
    filled = quad_overlap(*quads, 8, 6).sum(axis=1)
    np.testing.assert_allclose(filled, 1.0, atol=1e-6)
