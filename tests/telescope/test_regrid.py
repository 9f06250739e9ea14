"""Telescope cubes become l-v images: no flux is made or lost, and everything is where it was."""

from __future__ import annotations

import gzip
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy import constants

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, IrisError
from iris_cli.telescope.lv_file import load_lv, save_lv
from iris_cli.telescope.regrid import read_lv
from tests.telescope import sky

GRID, CLOUD = sky.GRID, sky.Cloud()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cube.fits"


def peak(image: np.ndarray) -> tuple[int, int]:
    return tuple(int(i) for i in np.unravel_index(image.argmax(), image.shape))  # type: ignore[return-value]


@pytest.mark.parametrize("spectral", sky.SPECTRAL)
@pytest.mark.parametrize("projection", sky.PROJECTIONS)
def test_flux_and_place_survive_every_projection_and_spectral_axis(path: Path, projection: str, spectral: str) -> None:
    made = read_lv([sky.cube(path, projection=projection, spectral=spectral)], GRID)
    assert sky.flux(made.image) == pytest.approx(CLOUD.flux, rel=5e-3)
    weight = made.image / made.image.sum()
    assert weight.sum(axis=1) @ GRID.longitude.centres() == pytest.approx(CLOUD.lon_deg, abs=2e-3)
    assert weight.sum(axis=0) @ GRID.velocity.centres() == pytest.approx(CLOUD.v_km_s, abs=0.2)


@pytest.mark.parametrize("spectral", sky.SPECTRAL)
def test_a_descending_axis_gives_the_same_image(path: Path, spectral: str) -> None:
    up = read_lv([sky.cube(path, spectral=spectral)], GRID)
    down = read_lv([sky.cube(path, spectral=spectral, descending=True)], GRID)
    np.testing.assert_allclose(up.image, down.image, atol=1e-6)
    np.testing.assert_allclose(up.coverage, down.coverage, atol=1e-6)


@pytest.mark.parametrize("projection", sky.PROJECTIONS)
@pytest.mark.parametrize(("lon", "v"), [(0.25, -61.0), (-0.19, 47.0)])
def test_a_point_source_lands_on_the_right_pixel(path: Path, projection: str, lon: float, v: float) -> None:
    h = sky.header(projection)
    point = sky.sample(h, replace(CLOUD, lon_deg=lon, lat_deg=0.0, v_km_s=v, size_deg=0.003, width_km_s=1.0))
    data = np.zeros_like(point)
    data[np.unravel_index(point.argmax(), point.shape)] = 5.0
    image = read_lv([sky.write(path, data, h)], GRID).image
    i, j = peak(image)
    assert abs(GRID.longitude.centres()[i] - lon) <= 0.5 * GRID.longitude.step + 0.006
    assert abs(GRID.velocity.centres()[j] - v) <= 0.5 * GRID.velocity.step + 0.8
    channel_km_s = 180 / 119
    assert sky.flux(image) == pytest.approx(5.0 * 0.011**2 * channel_km_s, rel=5e-3)


def test_fine_structure_is_averaged_not_aliased(path: Path) -> None:
    h = sky.header(shape=(121, 61, 201), pixel_deg=0.0061)
    data = 2.0 * (np.indices((121, 61, 201)).sum(axis=0) % 2)
    grid = replace(GRID, lat_min_deg=-0.14, lat_max_deg=0.14)
    made = read_lv([sky.write(path, data.astype(np.float32), h)], grid, "max")
    inside = made.coverage > 0.999
    assert inside.mean() > 0.5
    assert np.abs(made.image[inside] - 1.0).max() < 0.1


def test_refining_repeats_a_value_rather_than_making_gaps(path: Path) -> None:
    h = sky.header(shape=(12, 6, 12), pixel_deg=0.08)
    fine = replace(GRID, lat_min_deg=-0.2, lat_max_deg=0.2, lon_steps=128, lat_steps=64, v_steps=128)
    made = read_lv([sky.write(path, np.ones((12, 6, 12), np.float32), h)], fine)
    full = made.coverage > 1 - 1e-6
    assert full.mean() > 0.5
    np.testing.assert_allclose(made.image[full], 1.0, atol=1e-5)


def test_latitude_is_a_mean_or_a_maximum(path: Path) -> None:
    narrow = replace(CLOUD, size_deg=0.02)
    sky.cube(path, narrow)
    mean, highest = (read_lv([path], GRID, latitude).image for latitude in ("mean", "max"))
    assert highest.max() > 3 * mean.max()


@pytest.mark.parametrize("axis", ["longitude", "latitude", "velocity"])
@pytest.mark.parametrize("shared", [0, 1, 7])
def test_abutting_cubes_are_one_cube(tmp_path: Path, axis: str, shared: int) -> None:
    h = sky.header()
    whole = sky.sample(h, replace(CLOUD, lon_deg=0.0, lat_deg=0.0, v_km_s=0.0))
    k = {"velocity": 0, "latitude": 1, "longitude": 2}[axis]
    cut = whole.shape[k] // 2
    paths = []
    for name, part in (("a", slice(0, cut + shared)), ("b", slice(cut, None))):
        hp, index = h.copy(), [slice(None)] * 3
        index[k] = part
        hp[f"CRPIX{3 - k}"] -= part.start
        paths.append(sky.write(tmp_path / f"{name}.fits", whole[tuple(index)], hp))
    one = read_lv([sky.write(tmp_path / "whole.fits", whole, h)], GRID)
    for order in (paths, paths[::-1]):
        two = read_lv(order, GRID)
        np.testing.assert_allclose(two.image, one.image, atol=1e-5)
        np.testing.assert_allclose(two.coverage, one.coverage, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.75])
def test_cubes_on_different_pixels_join_without_a_bright_or_a_dark_column(tmp_path: Path, offset: float) -> None:
    h = sky.header(shape=(120, 30, 40))
    other = sky.header(shape=(60, 30, 40), pixel_deg=0.0107)
    h["CRPIX1"], other["CRPIX1"] = 1.3, 39.0 - offset
    ones = [np.ones((hh["NAXIS3"], 30, 40), np.float32) for hh in (h, other)]
    paths = [sky.write(tmp_path / f"{k}.fits", d, hh) for k, (d, hh) in enumerate(zip(ones, (h, other), strict=True))]
    made = read_lv(paths, replace(GRID, lat_min_deg=-0.1, lat_max_deg=0.1))
    inside = np.abs(GRID.longitude.centres()) < 0.3
    band = made.image[inside][:, 8:24]
    np.testing.assert_allclose(band, 1.0, atol=1e-4)


def test_what_is_not_a_number_is_nobodys_and_counts_as_not_seen(path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    clean = read_lv([sky.write(path, data, h)], GRID)
    edges = data.copy()
    edges[:, :, :9] = edges[:, :3] = edges[:4] = np.nan
    edges[10:20, 5, 30:40] = np.inf
    blanked = read_lv([sky.write(path, edges, h)], GRID)
    assert np.isfinite(blanked.image).all()
    assert blanked.sampled < clean.sampled
    bright = clean.image > 0.05
    np.testing.assert_allclose(blanked.image[bright], clean.image[bright], rtol=0.02)


def test_any_order_of_axes_and_a_degenerate_stokes_axis_change_nothing(path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    expected = read_lv([sky.write(path, data, h)], GRID).image
    four = h.copy()
    four["CTYPE4"], four["CRVAL4"], four["CRPIX4"], four["CDELT4"] = "STOKES", 1.0, 1.0, 1.0
    np.testing.assert_array_equal(read_lv([sky.write(path, data[None], four)], GRID).image, expected)
    casa = four.copy()  # its order: sky, Stokes, frequency
    for card in ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT"):
        casa[f"{card}3"], casa[f"{card}4"] = four.get(f"{card}4", ""), four[f"{card}3"]
    np.testing.assert_array_equal(read_lv([sky.write(path, data[:, None], casa)], GRID).image, expected)
    turned = h.copy()
    for card in ("CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT"):
        turned[f"{card}1"], turned[f"{card}2"], turned[f"{card}3"] = h[f"{card}3"], h[f"{card}1"], h[f"{card}2"]
    np.testing.assert_allclose(read_lv([sky.write(path, data.transpose(1, 2, 0), turned)], GRID).image, expected)


def test_scaled_integers_are_read_as_what_they_stand_for(path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    expected = read_lv([sky.write(path, data, h)], GRID).image
    hdu = fits.PrimaryHDU(data, header=h)
    hdu.scale("int16", bscale=2e-4, bzero=3.0)
    hdu.header["BLANK"] = -32768
    hdu.writeto(path, overwrite=True)
    np.testing.assert_allclose(read_lv([path], GRID).image, expected, atol=2e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"CTYPE3": "VELO-LSR", "SPECSYS": None},
        {"CTYPE3": "VELO-LSR", "SPECSYS": None, "VELREF": 257},
        {"CUNIT3": "KM/S"},
        {"CUNIT3": "km s-1"},
        {"CUNIT1": "DEGREE", "CUNIT2": "DEGREE"},
        {"CRVAL1": 360.0},
        {"BUNIT": "K (Tmb)"},
        {"BUNIT": "K Tmb"},
        {"BUNIT": "Kelvin"},
    ],
    ids=str,
)
def test_spellings_of_the_field_are_understood(path: Path, change: dict[str, Any]) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    for card, value in change.items():
        if value is None:
            del h[card]
        else:
            h[card] = value
    made = read_lv([sky.write(path, data, h)], GRID)
    assert sky.flux(made.image) == pytest.approx(CLOUD.flux, rel=5e-3)
    assert made.told["cubes"][0]["frame"] == "LSRK"


def test_packed_files_and_images_in_extensions_are_read(path: Path, tmp_path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    expected = read_lv([sky.write(path, data, h)], GRID).image
    packed = tmp_path / "cube.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    tiled = tmp_path / "cube.fits.fz"
    fits.CompImageHDU(data, header=h, quantize_level=0, compression_type="GZIP_2").writeto(tiled)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, header=h)]).writeto(path, overwrite=True)
    for file in (packed, tiled, path):
        np.testing.assert_allclose(read_lv([file], GRID).image, expected, atol=1e-6)
    packed.write_bytes(packed.read_bytes()[:20_000])
    with pytest.raises(DataError):
        read_lv([packed], GRID)


def test_slabs_change_nothing_and_bound_the_memory(path: Path) -> None:
    shape = (600, 60, 120)
    h = sky.header(shape=shape, pixel_deg=0.0055)
    sky.write(path, sky.sample(h, CLOUD), h)
    whole = read_lv([path], GRID)
    tracemalloc.start()
    slabs = read_lv([path], GRID, config=CubeConfig(memory_GiB=0.004))
    peak_GiB = tracemalloc.get_traced_memory()[1] / 2**30
    tracemalloc.stop()
    np.testing.assert_allclose(slabs.image, whole.image, atol=1e-6)
    assert 4 * np.prod(shape) / 2**30 > 0.015  # the cube alone is larger
    assert peak_GiB < 0.012  # slabs, and the pixels' shares of the sky
    with pytest.raises(DataError, match="allows"):
        read_lv([path], GRID, config=CubeConfig(memory_GiB=1e-4))


def test_antenna_temperatures_are_divided_by_the_efficiency(path: Path) -> None:
    plain = read_lv([sky.cube(path)], GRID).image
    h = sky.header()
    h["BUNIT"] = "K (Ta*)"
    sky.write(path, sky.sample(h, CLOUD), h)
    with pytest.raises(DataError, match="antenna"):
        read_lv([path], GRID)
    np.testing.assert_allclose(
        read_lv([path], GRID, config=CubeConfig(efficiency=0.5)).image, 2 * plain, rtol=1e-5, atol=1e-9
    )


def test_janskys_become_kelvins_by_the_beam_and_the_frequency(path: Path) -> None:
    kelvin = read_lv([sky.cube(path)], GRID).image
    h = sky.header()
    h["BUNIT"], h["BMAJ"], h["BMIN"] = "mJy/beam", 30 / 3600, 20 / 3600
    sky.write(path, sky.sample(h, CLOUD), h)
    made = read_lv([path], GRID).image
    # The rule of thumb of every array's handbook: T = 1.222e3 I[mJy/beam] / (nu[GHz]^2 theta_maj theta_min[arcsec]).
    np.testing.assert_allclose(made, kelvin * 1.222e3 / (220.3986841**2 * 30 * 20), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(("unit", "factor"), [("Jy/sr", 1e-26), ("MJy/sr", 1e-20)])
def test_intensities_become_kelvins_by_the_frequency_alone(path: Path, unit: str, factor: float) -> None:
    kelvin = read_lv([sky.cube(path)], GRID).image
    h = sky.header()
    h["BUNIT"] = unit
    sky.write(path, sky.sample(h, CLOUD), h)
    per = constants.c**2 / (2.0 * constants.k * 220.3986841e9**2)  # Rayleigh-Jeans: T = I c^2 / (2 k nu^2)
    made, bright = read_lv([path], GRID).image, kelvin > 1e-3 * kelvin.max()
    np.testing.assert_allclose(made[bright], kelvin[bright] * factor * per, rtol=1e-5)


def test_a_beam_that_is_given_wins_over_the_headers(path: Path) -> None:
    h = sky.header()
    h["BUNIT"], h["BMAJ"], h["BMIN"] = "Jy/beam", 30 / 3600, 20 / 3600
    sky.write(path, sky.sample(h, CLOUD), h)
    told, given = (read_lv([path], GRID, config=CubeConfig(beam_arcsec=b)).image for b in (None, 60.0))
    np.testing.assert_allclose(given, told * (30 * 20) / 60**2, rtol=1e-5, atol=1e-9)


def test_the_models_centre_can_be_moved(path: Path) -> None:
    image = read_lv([sky.cube(path)], GRID, config=CubeConfig(centre_lon_deg=CLOUD.lon_deg)).image
    assert GRID.longitude.centres() @ image.sum(axis=1) / image.sum() == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        ({"BUNIT": None}, {}, "--unit"),
        ({"BUNIT": "Jy"}, {}, "Jy/beam"),
        ({"BUNIT": "K km/s"}, {}, "not in a unit of brightness"),
        ({"BUNIT": "Jy/beam"}, {}, "--beam-arcsec"),
        ({"BUNIT": "Jy/beam", "BMAJ": "30"}, {}, "BMAJ is '30'"),
        ({"BUNIT": "Jy/beam", "BMAJ": 0.01, "BMIN": -0.01}, {}, "BMIN is -0.01"),
        ({"BTYPE": "Planck brightness temperature"}, {}, "--unit K"),
        ({"BUNIT": "Jy/beam", "BMAJ": 0.01, "RESTFRQ": None}, {}, "--rest-frequency-ghz"),
        ({"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRVAL3": 2.2e11, "RESTFRQ": None}, {}, "--rest-frequency-ghz"),
        ({"CUNIT3": None}, {}, "--spectral-unit"),
        ({"SPECSYS": "TOPOCENT"}, {}, "--velocity-shift"),
        ({"CTYPE3": "STOKES", "CUNIT3": None}, {}, "no spectral axis"),
        ({"CTYPE1": "X", "CTYPE2": "Y"}, {}, "no longitude and no latitude"),
        ({"CTYPE3": "AWAV", "CUNIT3": "m"}, {}, "AWAV"),
        ({"CRVAL1": 40.0}, {}, "--centre-lon"),
        ({"CRVAL3": 9000.0}, {}, "--min-coverage"),
        ({}, {"min_coverage": 0.9}, "at least 90%"),
        ({}, {"hdu": 4}, "has no HDU 4"),
        ({}, {"spectral_unit": "m/s"}, "says the unit"),
    ],
)
def test_what_a_header_leaves_open_is_an_error_that_names_the_flag(
    path: Path, change: dict[str, Any], flags: dict[str, Any], says: str
) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    for card, value in change.items():
        if value is None:
            del h[card]
        else:
            h[card] = value
    with pytest.raises(IrisError) as caught:
        read_lv([sky.write(path, data, h)], GRID, config=CubeConfig(**flags))
    assert says in f"{caught.value.message} ({caught.value.hint})"
    assert "\n" not in caught.value.message


def test_each_of_those_flags_mends_it(path: Path) -> None:
    expected = read_lv([sky.cube(path)], GRID).image
    h = sky.header(spectral="FREQ Hz")
    data = sky.sample(h, CLOUD)
    for card in ("BUNIT", "RESTFRQ", "SPECSYS", "CUNIT3"):
        del h[card]
    flags = CubeConfig(unit="K", rest_frequency_GHz=sky.REST_HZ / 1e9, spectral_unit="Hz", velocity_shift_km_s=0.0)
    np.testing.assert_allclose(read_lv([sky.write(path, data, h)], GRID, config=flags).image, expected, atol=0.02)


def test_two_stokes_planes_a_cut_file_and_other_files_are_refused(path: Path) -> None:
    h = sky.header()
    data = sky.sample(h, CLOUD)
    four = h.copy()
    four["CTYPE4"], four["CRVAL4"], four["CRPIX4"], four["CDELT4"] = "STOKES", 1.0, 1.0, 1.0
    with pytest.raises(DataError, match="2 planes along its STOKES axis"):
        read_lv([sky.write(path, np.stack([data, data]), four)], GRID)
    sky.write(path, data, h)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(DataError, match="cut short"):
        read_lv([path], GRID)
    path.write_bytes(b"no cube")
    with pytest.raises(DataError, match="not a FITS file"):
        read_lv([path], GRID)
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(path, overwrite=True)
    with pytest.raises(DataError, match="holds no cube"):
        read_lv([path], GRID)


def test_what_the_user_should_hear_is_noted(path: Path) -> None:
    h = sky.header()
    del h["SPECSYS"]
    notes = " ".join(read_lv([sky.write(path, sky.sample(h, CLOUD), h)], GRID).told["notes"])
    assert "SPECSYS" in notes and "beam" in notes and "main-beam" in notes


@pytest.mark.parametrize("suffix", [".npz", ".fits"])
def test_an_image_on_disk_is_the_image(path: Path, tmp_path: Path, suffix: str) -> None:
    made = read_lv([sky.cube(path)], GRID)
    save_lv(made, tmp_path / f"lv{suffix}")
    again = load_lv(tmp_path / f"lv{suffix}")
    assert again is not None
    np.testing.assert_array_equal(again.image, made.image)
    np.testing.assert_array_equal(again.coverage, made.coverage)
    assert (again.grid, again.latitude, again.told) == (made.grid, made.latitude, made.told)
    assert load_lv(path) is None
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes((tmp_path / f"lv{suffix}").read_bytes()[:100])
    with pytest.raises(DataError, match="no whole l-v image"):
        load_lv(damaged)


def test_the_images_header_says_where_its_pixels_are(path: Path, tmp_path: Path) -> None:

    save_lv(read_lv([sky.cube(path)], GRID), tmp_path / "lv.fits")
    with fits.open(tmp_path / "lv.fits") as file:
        j, i = np.unravel_index(file[0].data.argmax(), file[0].data.shape)
        lon, v = WCS(file[0].header).wcs_pix2world(i, j, 0)
    assert float(lon) == pytest.approx(CLOUD.lon_deg, abs=GRID.longitude.step)
    assert float(v) / 1e3 == pytest.approx(CLOUD.v_km_s, abs=GRID.velocity.step)
