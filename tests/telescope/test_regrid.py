"""Regridding of cubes to l-v images: flux is conserved on the way, and gas keeps its position."""

import gzip
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

GRID, CLOUD = sky.GRID, sky.Cloud()
CARDS = ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT")


def ones(path, h):
    return sky.write(path, np.ones((h["NAXIS3"], h["NAXIS2"], h["NAXIS1"]), np.float32), h)


@pytest.mark.parametrize(
    ("projection", "spectral"),
    [
        *((projection, "VRAD km/s") for projection in sky.PROJECTIONS),
        *(("GLON-CAR", spectral) for spectral in sky.SPECTRAL),
        ("RA---TAN", "FREQ GHz"),
    ],
)
def test_flux_and_position_are_those_of_the_cloud(path, projection, spectral):
    up = regrid([sky.cube(path, projection=projection, spectral=spectral)], GRID)
    assert sky.flux(up.image) == pytest.approx(CLOUD.flux, rel=5e-3)
    weight = up.image / up.image.sum()
    assert weight.sum(axis=1) @ GRID.longitude.centres() == pytest.approx(CLOUD.lon_deg, abs=2e-3)
    assert weight.sum(axis=0) @ GRID.velocity.centres() == pytest.approx(CLOUD.v_km_s, abs=0.2)
    down = regrid([sky.cube(path, projection=projection, spectral=spectral, descending=True)], GRID)
    np.testing.assert_allclose(up.image, down.image, atol=1e-6)
    np.testing.assert_allclose(up.coverage, down.coverage, atol=1e-6)


@pytest.mark.parametrize("projection", sky.PROJECTIONS)
def test_a_point_source_is_in_the_right_pixel(path, projection):
    lon, v = 0.25, -61.0
    h = sky.header(projection)
    point = sky.sample(h, replace(CLOUD, lon_deg=lon, lat_deg=0.0, v_km_s=v, size_deg=0.003, width_km_s=1.0))
    data = np.zeros_like(point)
    data[np.unravel_index(point.argmax(), point.shape)] = 5.0
    image = regrid([sky.write(path, data, h)], GRID).image
    i, j = np.unravel_index(image.argmax(), image.shape)
    assert abs(GRID.longitude.centres()[i] - lon) <= 0.5 * GRID.longitude.step + 0.006
    assert abs(GRID.velocity.centres()[j] - v) <= 0.5 * GRID.velocity.step + 0.8
    channel_km_s = 180 / 119
    assert sky.flux(image) == pytest.approx(5.0 * 0.011**2 * channel_km_s, rel=5e-3)


def test_the_models_centre_can_be_moved(path):
    made = regrid([sky.cube(path)], GRID, config=CubeConfig(centre_lon_deg=CLOUD.lon_deg))
    assert GRID.longitude.centres() @ made.image.sum(axis=1) / made.image.sum() == pytest.approx(0.0, abs=2e-3)
    assert made.centre_deg == (CLOUD.lon_deg, 0.0)


def test_gas_opposite_to_the_galactic_centre_is_not_seen_there(path):
    """A pixel across l = 180 deg has corners at +179.5 and -179.5, and is one degree wide all the same."""
    h = sky.header(pixel_deg=1.0, shape=(120, 3, 5))
    h["CRVAL1"] = 180.0
    with pytest.raises(DataError, match=r"fills 0\.00 % of the model's image"):
        regrid([sky.write(path, np.full((120, 3, 5), 7.0), h)], GRID)
    h = sky.header(pixel_deg=1.0, shape=(120, 3, 200))  # from -9.5 to 189.5 deg
    h["CRVAL1"] = 90.0
    data = np.zeros((120, 3, 200), np.float32)
    data[:, :, :20] = 7.0
    made = regrid([sky.write(path, data, h)], GRID)
    assert made.image.max() == 0.0 and made.sampled > 0.5


def test_fine_structure_is_averaged_not_aliased(path):
    h = sky.header(shape=(121, 61, 101), pixel_deg=0.0061)
    data = 2.0 * (np.indices((121, 61, 101)).sum(axis=0) % 2)
    grid = replace(GRID, lat_min_deg=-0.14, lat_max_deg=0.14, lon_min_deg=-0.25, lon_max_deg=0.25, lon_steps=16)
    made = regrid([sky.write(path, data.astype(np.float32), h)], grid, "max")
    inside = made.coverage > 0.999
    assert inside.mean() > 0.5
    assert np.abs(made.image[inside] - 1.0).max() < 0.1


def test_refining_repeats_values_without_gaps(path):
    fine = replace(GRID, lat_min_deg=-0.2, lat_max_deg=0.2, lon_steps=128, lat_steps=64, v_steps=128)
    made = regrid([ones(path, sky.header(shape=(12, 6, 12), pixel_deg=0.08))], fine)
    full = made.coverage > 1 - 1e-6
    assert full.mean() > 0.5
    np.testing.assert_allclose(made.image[full], 1.0, atol=1e-5)


def test_latitude_is_a_mean_or_a_maximum(path):
    sky.cube(path, replace(CLOUD, size_deg=0.02))
    mean, highest = (regrid([path], GRID, latitude).image for latitude in ("mean", "max"))
    assert highest.max() > 3 * mean.max()
    with pytest.raises(UsageError, match="unknown latitude reduction 'maxi'") as caught:
        regrid([path], GRID, "maxi")
    assert "max" in str(caught.value.hint)


def test_moments_of_latitude_give_the_height_of_a_cloud_and_its_thickness(path):
    sky.cube(path)
    made = regrid([path], GRID, "moments")
    np.testing.assert_allclose(made.image, regrid([path], GRID).image, atol=1e-6)
    total, first, second = (float(image.sum()) for image in made.channels)
    b0 = np.abs(GRID.latitude.edges()).max()
    assert b0 * first / total == pytest.approx(CLOUD.lat_deg, abs=1e-3)
    spread = b0 * np.sqrt(second / total - (first / total) ** 2)
    assert spread == pytest.approx(np.hypot(CLOUD.size_deg, GRID.latitude.step / np.sqrt(12.0)), rel=0.1)


def assert_same(one, other):
    """Both make the same image."""
    a, b = regrid(one, GRID), regrid(other, GRID)
    np.testing.assert_allclose(a.image, b.image, atol=1e-5)
    np.testing.assert_allclose(a.coverage, b.coverage, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["velocity", "latitude", "longitude"])
@pytest.mark.parametrize("shared", [0, 7])
def test_abutting_cubes_are_one_cube(tmp_path, axis, shared):
    h = sky.header()
    whole = sky.sample(h, replace(CLOUD, lon_deg=0.0, lat_deg=0.0, v_km_s=0.0))
    cut = whole.shape[axis] // 2
    paths = []
    for name, part in (("a", slice(0, cut + shared)), ("b", slice(cut, None))):
        hp, index = h.copy(), [slice(None)] * 3
        index[axis] = part
        hp[f"CRPIX{3 - axis}"] -= part.start
        paths.append(sky.write(tmp_path / f"{name}.fits", whole[tuple(index)], hp))
    complete = sky.write(tmp_path / "whole.fits", whole, h)
    for order in (paths, paths[::-1]):
        assert_same(order, [complete])


@pytest.mark.parametrize("offset", [0.0, 0.5, 0.75])
def test_cubes_on_different_pixels_join_without_a_bright_or_a_dark_column(tmp_path, offset):
    h = sky.header(shape=(120, 30, 40))
    other = sky.header(shape=(60, 30, 40), pixel_deg=0.0107)
    h["CRPIX1"], other["CRPIX1"] = 1.3, 39.0 - offset
    paths = [ones(tmp_path / "a.fits", h), ones(tmp_path / "b.fits", other)]
    made = regrid(paths, replace(GRID, lat_min_deg=-0.1, lat_max_deg=0.1))
    inside = np.abs(GRID.longitude.centres()) < 0.3
    np.testing.assert_allclose(made.image[inside][:, 8:24], 1.0, atol=1e-4)


def test_channels_that_are_blank_in_the_first_cube_come_from_the_second(tmp_path):
    h = sky.header()
    data = sky.sample(h, CLOUD)
    whole = sky.write(tmp_path / "whole.fits", data, h)
    data[:20] = data[70:] = np.nan
    assert_same([sky.write(tmp_path / "a.fits", data, h), whole], [whole])


def test_a_hole_in_the_second_cube_counts_only_outside_the_first(tmp_path):
    h = sky.header()
    data = sky.sample(h, CLOUD)
    left, hole = h.copy(), data.copy()
    left["NAXIS1"] = 31
    hole[40:80, 14:17, 45:50] = np.nan
    holes = hole.copy()
    holes[40:80, 14:17, 10:20] = np.nan
    first = sky.write(tmp_path / "left.fits", data[:, :, :31], left)
    second, expected = (sky.write(tmp_path / name, d, h) for name, d in (("holes.fits", holes), ("hole.fits", hole)))
    assert_same([first, second], [expected])


def test_the_first_cube_counts_also_where_pixels_are_rotated_on_the_sky(tmp_path):
    """Twice the brightness in the second cube is never seen inside the first."""
    h, angle = sky.header(), np.deg2rad(30)
    h["PC1_1"] = h["PC2_2"] = np.cos(angle)
    h["PC1_2"], h["PC2_1"] = np.sin(angle), -np.sin(angle)
    left, doubled = h.copy(), np.ones((120, 30, 62), np.float32)
    left["NAXIS1"] = 31
    doubled[:, :, :31] = 2.0
    second = sky.write(tmp_path / "second.fits", doubled, h)
    assert_same([ones(tmp_path / "first.fits", left), second], [ones(tmp_path / "alone.fits", h)])


def test_values_that_are_not_finite_do_not_count_as_observed(path):
    h = sky.header()
    data = sky.sample(h, CLOUD)
    clean = regrid([sky.write(path, data, h)], GRID)
    data[:, :, :9] = data[:, :3] = data[:4] = np.nan
    data[10:20, 5, 30:40] = np.inf
    blanked = regrid([sky.write(path, data, h)], GRID)
    assert np.isfinite(blanked.image).all()
    assert blanked.sampled < clean.sampled
    bright = clean.image > 0.05
    np.testing.assert_allclose(blanked.image[bright], clean.image[bright], rtol=0.02)


def test_the_order_of_axes_and_a_degenerate_stokes_axis_change_nothing(path):
    def image(data, header):
        return regrid([sky.write(path, data, header)], GRID).image

    h = sky.header()
    data = sky.sample(h, CLOUD)
    expected = image(data, h)
    four = h.copy()
    four["CTYPE4"], four["CRVAL4"], four["CRPIX4"], four["CDELT4"] = "STOKES", 1.0, 1.0, 1.0
    np.testing.assert_array_equal(image(data[None], four), expected)
    casa = four.copy()  # its order: sky, Stokes, frequency
    velocity_first = h.copy()
    for card in CARDS:
        casa[f"{card}3"], casa[f"{card}4"] = four.get(f"{card}4", ""), four[f"{card}3"]
        for new, old in ((1, 3), (2, 1), (3, 2)):
            velocity_first[f"{card}{new}"] = h[f"{card}{old}"]
    np.testing.assert_array_equal(image(data[:, None], casa), expected)
    np.testing.assert_allclose(image(data.transpose(1, 2, 0), velocity_first), expected)
    with pytest.raises(DataError, match="2 planes along its STOKES axis"):
        image(np.stack([data, data]), four)


def test_scaled_integers_packed_files_and_extensions_hold_the_same_cube(path, tmp_path):
    h = sky.header()
    data = sky.sample(h, CLOUD)
    expected = regrid([sky.write(path, data, h)], GRID).image
    packed, tiled, scaled = (tmp_path / name for name in ("cube.fits.gz", "cube.fits.fz", "integers.fits"))
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    fits.CompImageHDU(data, header=h, quantize_level=0, compression_type="GZIP_2").writeto(tiled)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header=h)]).writeto(path, overwrite=True)
    for file in (packed, tiled, path):
        np.testing.assert_allclose(regrid([file], GRID).image, expected, atol=1e-6)
    hdu = fits.PrimaryHDU(data, header=h)
    hdu.scale("int16", bscale=2e-4, bzero=3.0)
    hdu.header["BLANK"] = -32768
    hdu.writeto(scaled)
    np.testing.assert_allclose(regrid([scaled], GRID).image, expected, atol=2e-4)
    packed.write_bytes(packed.read_bytes()[:20_000])
    with pytest.raises(DataError):
        regrid([packed], GRID)


def test_files_that_are_cut_short_or_hold_no_cube_are_refused(tmp_path):
    cut, text, flat, empty = (tmp_path / f"{name}.fits" for name in ("cut", "text", "flat", "empty"))
    cut.write_bytes(sky.cube(cut).read_bytes()[:200_000])
    text.write_bytes(b"no cube")
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(flat)
    sky.write(empty, np.zeros((0, 30, 62)), sky.header())
    refused = ((cut, "cut short"), (text, "not a FITS file"), (flat, "holds no cube"), (empty, "0 channels"))
    for path, message in refused:
        with pytest.raises(DataError, match=message):
            regrid([path], GRID)
    with pytest.raises(UsageError, match="no cube was named"):
        regrid([], GRID)


def test_slabs_change_nothing_and_bound_the_memory(path):
    shape = (600, 60, 120)
    sky.cube(path, shape=shape, pixel_deg=0.0055)
    whole = regrid([path], GRID)
    tracemalloc.start()
    slabs = regrid([path], GRID, config=CubeConfig(memory_GiB=0.004))
    peak_GiB = tracemalloc.get_traced_memory()[1] / 2**30
    tracemalloc.stop()
    np.testing.assert_allclose(slabs.image, whole.image, atol=1e-6)
    assert 4 * np.prod(shape) / 2**30 > 0.015  # the cube alone is larger
    assert peak_GiB < 0.012  # slabs, and the overlap of pixels with cells
    with pytest.raises(DataError, match="allows"):
        regrid([path], GRID, config=CubeConfig(memory_GiB=1e-4))
