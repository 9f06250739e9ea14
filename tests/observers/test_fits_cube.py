"""FITS cubes: coordinates of a bright cell, and moments."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.errors import DataError
from iris_cli.observers.fits_cube import clipped, header, moments, on_sky, write_cube

GRID = GRID_PRESETS["tiny"].scaled(8, 20, 6, 48)


def test_a_bright_pixel_has_its_coordinates(tmp_path):
    cube = np.zeros((20, 6, 48), dtype=np.float32)
    cube[3, 4, 40] = 1.0
    write_cube(tmp_path / "cube.fits", on_sky(cube), header(GRID, "K", 220.4e9, 30.0), ("made here",))
    with fits.open(tmp_path / "cube.fits") as file:
        v, b, lon = (int(i[0]) for i in np.nonzero(file[0].data))
        world = WCS(file[0].header).wcs_pix2world([[lon, b, v]], 0)[0]
        assert WCS(file[0].header).wcs.restfrq == 220.4e9
        assert file[0].header["CDELT1"] < 0  # longitude grows to the left
        assert file[0].header["BMAJ"] == pytest.approx(30.0 / 3600.0)
    expected = (GRID.longitude.centres()[3] % 360, GRID.latitude.centres()[4], GRID.velocity.centres()[40] * 1e3)
    assert world == pytest.approx(expected, abs=1e-6)


def test_moments_of_a_gaussian_line_are_its_flux_mean_and_width():
    v = np.linspace(-50, 50, 201)
    cube = (3.0 * np.exp(-0.5 * ((v - 7.0) / 5.0) ** 2))[:, None, None] * np.array([[1.0, 0.0]])
    found = moments(cube, v, 0.5)
    assert found[0][0, 0] == pytest.approx(3.0 * 5.0 * np.sqrt(2 * np.pi), rel=1e-4)
    assert (found[1][0, 0], found[2][0, 0]) == pytest.approx((7.0, 5.0), rel=1e-4)
    assert np.isnan(found[1][0, 1]) and found[0][0, 1] == 0.0


def test_moments_of_noise_and_of_what_was_not_observed_are_unknown():
    v = np.linspace(-50, 50, 201)
    line = 3.0 * np.exp(-0.5 * ((v - 7.0) / 5.0) ** 2)
    hole = np.where(np.abs(v - 40) < 5, np.nan, line)  # a few channels
    dip = line - 2.0 * np.exp(-0.5 * ((np.abs(v) - 45) / 2.0) ** 2)  # its variance is negative
    left = 0.2 * line - 2.0 * np.exp(-0.5 * ((v + 45) / 1.0) ** 2)  # its mean is beyond +50 km/s
    narrow = np.where(v == 20.0, 1.0, 0.0)
    found = moments(np.stack([line, np.full(201, np.nan), hole, dip, left, narrow], axis=1)[:, None], v, 0.5)
    assert [bool(np.isnan(found[0][0, k])) for k in range(6)] == [False, True, False, False, False, False]
    assert np.isnan(found[1][0, 1]) and np.isnan(found[2][0, 1])
    assert (found[1][0, 2], found[2][0, 2]) == pytest.approx((7.0, 5.0), rel=1e-4)
    assert np.isfinite(found[1][0, 3]) and np.isnan(found[2][0, 3])
    assert np.isnan(found[1][0, 4]) and np.isnan(found[2][0, 4])
    assert (found[1][0, 5], found[2][0, 5]) == pytest.approx((20.0, 0.0), abs=1e-3)


def test_clipping_finds_the_noise_beside_a_line():
    rng = np.random.default_rng(2)
    v = np.linspace(-50, 50, 201)
    line = 30.0 * np.exp(-0.5 * ((v - 7.0) / 5.0) ** 2)[:, None, None] * np.ones((4, 5))
    cube = line + rng.normal(0.0, 2.0, line.shape)
    cube[0, 0, 0] = np.nan
    kept = clipped(cube, 3.0)
    assert np.isnan(kept[0, 0, 0]) and kept[np.nan_to_num(kept) != 0.0].min() == pytest.approx(6.0, rel=0.1)
    np.testing.assert_allclose(moments(kept, v, 0.5)[2], 5.0, rtol=0.25)
    with pytest.raises(DataError, match="hardly any negative values"):
        clipped(line, 3.0)
