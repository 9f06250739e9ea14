"""Numbers that stand for no measurement are masked where a header or a flag says so, else refused."""

import numpy as np
import pytest
from astropy.io import fits

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

#: Rows in which the cloud is 4 mK or less.
ROWS = slice(0, 3)


def image(path, **flags):
    return regrid([path], sky.GRID, config=CubeConfig(min_coverage=0.01, **flags)).image


def blanked(path, number, dtype="f4", cards=None, scale=1):
    """The cube of the cloud, in units of `scale`, with a number in some rows."""
    h = sky.header()
    data = (sky.sample(h, sky.Cloud()) / scale).astype(dtype)
    data[:, ROWS] = number
    h.update(cards or {})
    hdu = fits.PrimaryHDU(data)
    hdu.header.extend(h, unique=True, strip=True)
    hdu.header.update({card: value for card, value in h.items() if card[:2] not in ("BI", "NA", "SI")})
    hdu.writeto(path, overwrite=True)
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return image(blanked(tmp_path_factory.mktemp("nan") / "cube.fits", np.nan))


@pytest.mark.parametrize("number", [-3.4e38, -1.27e30, 9.96921e36, 1e20, -99999, -9999, -1000, -999, -99, 1e7])
def test_a_finite_blank_is_refused_and_the_hint_masks_it(path, expected, number):
    blanked(path, number)
    with pytest.raises(DataError) as caught:
        image(path)
    flag, value = caught.value.hint.split()[:2]
    assert (
        flag == "--blank"
        and float(value) == pytest.approx(number, rel=1e-6)
        and ("--max-kelvin" in caught.value.hint) == (abs(number) < 1e29)
    )
    np.testing.assert_array_equal(image(path, blank=float(value)), expected)
    np.testing.assert_array_equal(image(path, blank=number), expected)


@pytest.mark.parametrize("number", [-1000.0, 0.5, -3.4e38])
def test_blank_of_floating_point_data_is_believed(path, expected, number):
    try:
        blanked(path, number, cards={"BLANK": int(number) if number == -1000.0 else number})
    except ValueError:
        pytest.skip("astropy does not write this header")
    made = regrid([path], sky.GRID)
    np.testing.assert_array_equal(made.image, expected)
    assert "(BLANK) count as missing" in " ".join(made.cubes[0].notes)


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8"])
def test_the_lowest_integer_is_a_blank(path, expected, dtype):
    lowest = np.iinfo(dtype).min
    scaled = {"BSCALE": 0.001, "BZERO": 0.0}
    blanked(path, lowest, dtype, scaled, scale=0.001)
    with pytest.raises(DataError, match=r"the lowest of such integers|the limit is") as caught:
        image(path)
    assert f"--blank {lowest} " in caught.value.hint
    np.testing.assert_allclose(image(path, blank=float(lowest)), expected, atol=2e-3)
    np.testing.assert_allclose(
        image(blanked(path, lowest, dtype, scaled | {"BLANK": lowest}, 0.001)), expected, atol=2e-3
    )


def test_one_wild_value_is_refused(path):
    """As a flipped bit makes it."""
    sky.cube(path)
    with fits.open(path, mode="update") as file:
        file[0].data[60, 15, 31] = 5.4e8
    with pytest.raises(DataError, match=r"536870912|540000000") as caught:
        image(path)
    assert "in 1 voxels" in caught.value.message
    assert np.isfinite(image(path, max_kelvin=6e8)).all()


def test_real_values_pass(path):
    """Absorption, noise, an infinite value, and values of the flag's size."""
    cloud = image(sky.cube(path))
    for change in (lambda data: data - 5.0, lambda data: -40.0 * data, lambda data: np.where(data > 2.9, np.inf, data)):
        sky.write(path, change(sky.sample(sky.header(), sky.Cloud())).astype(np.float32), sky.header())
        assert np.isfinite(image(path)).all()
    sky.cube(path, sky.Cloud(peak_K=3e4))
    with pytest.raises(DataError, match="the limit is 10000 K"):
        image(path)
    np.testing.assert_allclose(image(path, max_kelvin=4e4), 1e4 * cloud, rtol=1e-4, atol=1e-3)
