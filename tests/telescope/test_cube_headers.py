"""Telescope cubes with headers and gaps that a number could silently depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy import constants

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.regrid import read_lv
from iris_cli.telescope.spectral_axis import frequency_ratio
from tests.telescope import sky

GRID, CLOUD = sky.GRID, sky.Cloud()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cube.fits"


def test_gas_opposite_to_the_galactic_centre_is_not_seen_there(path: Path) -> None:
    """A pixel across l = 180 deg has corners at +179.5 and -179.5, and is one degree wide all the same."""
    h = sky.header(pixel_deg=1.0, shape=(120, 3, 5))
    h["CRVAL1"] = 180.0
    with pytest.raises(DataError, match=r"fills 0\.00% of the model's image"):
        read_lv([sky.write(path, np.full((120, 3, 5), 7.0), h)], GRID)
    h = sky.header(pixel_deg=1.0, shape=(120, 3, 200))  # from -9.5 to 189.5 deg
    h["CRVAL1"] = 90.0
    data = np.zeros((120, 3, 200), np.float32)
    data[:, :, :20] = 7.0
    made = read_lv([sky.write(path, data, h)], GRID)
    assert made.image.max() == 0.0 and made.sampled > 0.5


def test_the_dynamical_lsr_is_told_from_the_kinematic_one(path: Path) -> None:
    """Towards the Galactic Centre they differ by what they have the Sun move there: astropy's own frames."""
    from astropy import units as u
    from astropy.coordinates import LSRD, LSRK, Galactic

    rest = {"distance": 8 * u.kpc, "pm_l_cosb": 0 * u.mas / u.yr, "pm_b": 0 * u.mas / u.yr}
    gas = Galactic(l=0 * u.deg, b=0 * u.deg, radial_velocity=0 * u.km / u.s, **rest)
    kinematic, dynamical = (gas.transform_to(frame).radial_velocity.to_value("km/s") for frame in (LSRK(), LSRD()))
    assert kinematic - dynamical == pytest.approx(1.3, abs=0.05)
    h = sky.header()
    h["SPECSYS"] = "LSRD"
    assert "1.3 km/s" in read_lv([sky.write(path, sky.sample(h, CLOUD), h)], GRID).told["notes"][0]
    h["SPECSYS"] = "LSRK"
    assert "1.3 km/s" not in " ".join(read_lv([sky.write(path, sky.sample(h, CLOUD), h)], GRID).told["notes"])


def test_channels_that_the_first_cube_has_blanked_are_the_second_one_s(tmp_path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    whole = read_lv([sky.write(tmp_path / "whole.fits", data, h)], GRID)
    blanked = data.copy()
    blanked[:20] = blanked[70:] = np.nan
    both = read_lv([sky.write(tmp_path / "a.fits", blanked, h), tmp_path / "whole.fits"], GRID)
    np.testing.assert_allclose(both.image, whole.image, atol=1e-6)
    np.testing.assert_allclose(both.coverage, whole.coverage, atol=1e-6)


def test_a_hole_in_the_second_cube_is_one_only_where_the_first_does_not_look(tmp_path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    left, hole, holes = h.copy(), data.copy(), data.copy()
    left["NAXIS1"] = 31
    hole[40:80, 14:17, 45:50] = holes[40:80, 14:17, 45:50] = holes[40:80, 14:17, 10:20] = np.nan
    sky.write(tmp_path / "left.fits", data[:, :, :31], left)
    both = read_lv([tmp_path / "left.fits", sky.write(tmp_path / "holes.fits", holes, h)], GRID)
    expected = read_lv([sky.write(tmp_path / "hole.fits", hole, h)], GRID)
    np.testing.assert_allclose(both.image, expected.image, atol=1e-5)
    np.testing.assert_allclose(both.coverage, expected.coverage, atol=1e-5)


def test_pixels_that_are_turned_on_the_sky_belong_to_the_first_cube_that_holds_them(tmp_path: Path) -> None:
    """Twice the brightness in the second cube is never seen where the first one looks."""
    h, angle = sky.header(), np.deg2rad(30)
    h["PC1_1"] = h["PC2_2"] = np.cos(angle)
    h["PC1_2"], h["PC2_1"] = np.sin(angle), -np.sin(angle)
    left = h.copy()
    left["NAXIS1"] = 31
    ones = np.ones((120, 30, 62), np.float32)
    doubled = ones.copy()
    doubled[:, :, :31] = 2.0
    first = sky.write(tmp_path / "first.fits", ones[:, :, :31], left)
    both = read_lv([first, sky.write(tmp_path / "second.fits", doubled, h)], GRID)
    alone = read_lv([sky.write(tmp_path / "alone.fits", ones, h)], GRID)
    np.testing.assert_allclose(both.image, alone.image, atol=1e-5)


def test_an_image_that_does_not_say_its_centre_lies_around_the_galactic_one(path: Path) -> None:
    made = read_lv([sky.cube(path)], GRID)
    assert replace(made, told={}).centre_deg == made.centre_deg == (0.0, 0.0)


def test_an_unknown_latitude_reduction_and_no_cube_are_told(path: Path) -> None:
    with pytest.raises(UsageError, match="unknown latitude reduction 'maxi'") as caught:
        read_lv([sky.cube(path)], GRID, "maxi")
    assert "max" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no cube was named"):
        read_lv([], GRID)


def test_a_cube_without_a_channel_is_told(path: Path) -> None:
    h = sky.header()
    with pytest.raises(DataError, match="0 channels"):
        read_lv([sky.write(path, np.zeros((0, 30, 62)), h)], GRID)


def test_a_scale_of_temperature_that_is_neither_antenna_nor_main_beam_is_told(path: Path) -> None:
    h = sky.header()
    h["BUNIT"] = "K (T_R*)"
    notes = " ".join(read_lv([sky.write(path, sky.sample(h, CLOUD), h)], GRID).told["notes"])
    assert "'(T_R*)'" in notes and "taken as main-beam" in notes
    h["BUNIT"] = "K (Tmb)"
    assert "main-beam" not in " ".join(read_lv([sky.write(path, sky.sample(h, CLOUD), h)], GRID).told["notes"])


def test_the_three_conventions_part_at_a_tenth_of_the_speed_of_light() -> None:
    v = np.array([0.1 * constants.c])
    assert frequency_ratio(v, "radio")[0] == pytest.approx(0.9)
    assert frequency_ratio(v, "optical")[0] == pytest.approx(1 / 1.1)
    assert frequency_ratio(v, "relativistic")[0] == pytest.approx(np.sqrt(0.9 / 1.1))


def test_velocities_of_another_frame_are_shifted_by_what_is_asked_for(path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    h["SPECSYS"] = "TOPOCENT"
    sky.write(path, data, h)
    for shift in (0.0, 12.5, -20.0):
        image = read_lv([path], GRID, config=CubeConfig(velocity_shift_km_s=shift)).image
        middle = image.sum(axis=0) @ GRID.velocity.centres() / image.sum()
        assert middle == pytest.approx(CLOUD.v_km_s + shift, abs=0.2)


def test_a_rest_frequency_that_is_given_wins_over_the_header_s(path: Path) -> None:
    h = sky.header(spectral="FREQ Hz")
    expected = read_lv([sky.write(path, sky.sample(h, CLOUD), h)], GRID).image
    data = sky.sample(h, CLOUD)
    del h["RESTFRQ"]
    for card, before in (("RESTFREQ", "CTYPE1"), ("RESTFRQ", "RESTFREQ")):  # in the end both
        h.insert(before, (card, 0.9999 * sky.REST_HZ))
        sky.write(path, data, h)
        assert np.abs(read_lv([path], GRID).image - expected).max() > 0.1
        given = read_lv([path], GRID, config=CubeConfig(rest_frequency_GHz=sky.REST_HZ / 1e9)).image
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_channels_that_all_have_one_velocity_and_an_efficiency_too_many_are_told(path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    h["BUNIT"] = "K (Tmb)"
    with pytest.raises(UsageError, match="holds main-beam temperatures already") as caught:
        read_lv([sky.write(path, data, h)], GRID, config=CubeConfig(efficiency=0.5))
    assert "--efficiency" in str(caught.value.hint)
    h["CTYPE3"], h["CDELT3"], h["CRVAL3"], h["CUNIT3"] = "VRAD", 1e-300, 1.0, "m/s"
    with pytest.raises(DataError, match="not finite or do not change"):
        read_lv([sky.write(path, data, h)], GRID)


def test_the_cube_that_is_asked_for_is_read_and_the_first_one_else(path: Path) -> None:
    h = sky.header()
    cubes = [fits.ImageHDU(sky.sample(h, replace(CLOUD, lon_deg=lon)), header=h) for lon in (-0.2, 0.2)]
    fits.HDUList([fits.PrimaryHDU(), *cubes]).writeto(path)
    for number, lon in ((None, -0.2), (1, -0.2), (2, 0.2)):
        image = read_lv([path], GRID, config=CubeConfig(hdu=number)).image
        assert GRID.longitude.centres() @ image.sum(axis=1) / image.sum() == pytest.approx(lon, abs=2e-3)
    with pytest.raises(DataError, match="no image of three axes in HDU 0"):
        read_lv([path], GRID, config=CubeConfig(hdu=0))
    for number in (3, -1):
        with pytest.raises(UsageError):
            read_lv([path], GRID, config=CubeConfig(hdu=number))
