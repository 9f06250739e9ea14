"""Regridding beside `reproject` and `spectral-cube`, which share no code with it."""

from dataclasses import replace

import numpy as np
import pytest

from iris_cli.config.cube import CubeConfig
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

GRID, CLOUD = sky.GRID, sky.Cloud()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cube.fits"


def test_shares_of_the_sky_agree_with_reproject_exact(path):
    reproject = pytest.importorskip("reproject")
    from astropy.wcs import WCS

    h = sky.header("RA---TAN")
    data = sky.sample(h, CLOUD)
    channel = int(np.abs(sky.velocities(h) - CLOUD.v_km_s).argmin())
    target = WCS(naxis=2)
    target.wcs.ctype, target.wcs.crval = ["GLON-CAR", "GLAT-CAR"], [0.0, 0.0]
    target.wcs.cdelt = [GRID.longitude.step, GRID.latitude.step]
    target.wcs.crpix = [1 - GRID.lon_min_deg / GRID.longitude.step, 1 - GRID.lat_min_deg / GRID.latitude.step]
    mean, filled = reproject.reproject_exact(
        (data[channel], WCS(h).celestial), target, shape_out=(GRID.lat_steps, GRID.lon_steps)
    )
    expected = (np.nan_to_num(mean) * np.minimum(filled, 1)).mean(axis=0)
    low, high = sky.velocities(h)[channel] + np.array([-0.5, 0.5]) * 180 / 119
    quarter = 0.25 * (high - low)
    single = replace(GRID, v_min_km_s=low + quarter, v_max_km_s=high - quarter, v_steps=2)
    found = regrid([sky.write(path, data, h)], single, config=CubeConfig(min_coverage=0.0)).image[:, 0]
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())


@pytest.mark.parametrize("spectral", [s for s in sky.SPECTRAL if "VELO" not in s])
def test_velocities_agree_with_spectral_cube(path, spectral):
    spectral_cube = pytest.importorskip("spectral_cube")
    from astropy import units as u

    from iris_cli.telescope.cube_file import open_cube

    sky.cube(path, spectral=spectral, shape=(60, 8, 8))
    expected = (
        spectral_cube.SpectralCube.read(path)
        .with_spectral_unit(u.km / u.s, velocity_convention="radio", rest_value=sky.REST_HZ * u.Hz)
        .spectral_axis
    )
    with open_cube(path, CubeConfig()) as found:
        np.testing.assert_allclose(0.5 * (found.v_low + found.v_high), expected.value, atol=0.02)
