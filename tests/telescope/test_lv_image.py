"""Files of l-v images and of maps: what is written is read back, and `iris plot` draws it."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.commands import plot_data
from iris_cli.commands.options import Sample
from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.standard.top_down_plane import corners_pc
from iris_cli.telescope.density_map import MapProvenance, MapQuality, MapRecord, load_map, save_map
from iris_cli.telescope.lv_image import load_lv, save_lv
from iris_cli.telescope.regrid import regrid
from iris_cli.telescope.revert import summarise_maps
from tests.telescope import sky
from tests.telescope.runs import GRID

CLOUD = sky.Cloud()
DENSITY = np.random.default_rng(0).random(GRID.density_shape[1:]).astype(np.float32)


@pytest.fixture(scope="module")
def lv(tmp_path_factory):
    cube = sky.cube(tmp_path_factory.mktemp("lv") / "cube.fits", cards={"BMAJ": 0.01})
    return regrid([cube], GRID, config=CubeConfig(memory_GiB=1.0))


def record(lv, unit):
    provenance = MapProvenance({}, (), (), {}, unit)
    return MapRecord(
        provenance,
        summarise_maps(DENSITY[None], GRID, lv.observed_longitudes),
        MapQuality(lv.sampled, None, "unknown", ()),
    )


@pytest.mark.parametrize("suffix", [".npz", ".fits"])
def test_an_image_is_read_back_whole(lv, path, tmp_path, suffix):
    file, with_moments = tmp_path / f"lv{suffix}", tmp_path / f"moments{suffix}"
    save_lv(replace(lv, latitude="moments", moments=np.stack([0.5 * lv.image, 0.3 * lv.image])), with_moments)
    found = load_lv(with_moments)
    assert found is not None
    np.testing.assert_array_equal(found.channels, np.stack([lv.image, 0.5 * lv.image, 0.3 * lv.image]))
    save_lv(replace(lv, latitude="moments"), with_moments)
    with pytest.raises(DataError, match="does not hold the images of latitude = moments"):
        load_lv(with_moments)
    save_lv(lv, file)
    again = load_lv(file)
    assert again is not None
    np.testing.assert_array_equal(again.image, lv.image)
    np.testing.assert_array_equal(again.coverage, lv.coverage)
    assert (again.grid, again.latitude, again.cubes, again.options) == (GRID, "mean", lv.cubes, lv.options)
    assert load_lv(sky.cube(path)) is None
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"not a whole l-v image|cut short"):
        load_lv(file)


def test_the_header_of_an_image_says_where_its_pixels_are(lv, tmp_path):
    save_lv(lv, tmp_path / "lv.fits")
    with fits.open(tmp_path / "lv.fits") as file:
        j, i = np.unravel_index(file[0].data.argmax(), file[0].data.shape)
        lon, v = WCS(file[0].header).wcs_pix2world(i, j, 0)
    assert float(lon) == pytest.approx(CLOUD.lon_deg, abs=GRID.longitude.step)
    assert float(v) / 1e3 == pytest.approx(CLOUD.v_km_s, abs=GRID.velocity.step)


def test_plots_of_an_image_are_the_same_from_npz_and_fits(iris, lv, tmp_path):
    for name in ("lv.npz", "lv.NPZ", "lv.fits"):
        save_lv(lv, tmp_path / name)
    one, other = (plot_data.lv_image(tmp_path / name, Sample()) for name in ("lv.NPZ", "lv.fits"))
    np.testing.assert_array_equal(one.image, other.image)
    assert one.label == other.label and one.place == other.place
    np.testing.assert_allclose(one.across.centres(), other.across.centres(), atol=1e-9)
    for kind in ("lv", "spectrum"):
        ran = iris("plot", kind, tmp_path / "lv.npz", "-o", tmp_path / "a.png")
        assert ran.code == 0, ran.err


def test_a_map_is_read_back_in_inner_units_and_drawn_around_sgr_a(iris, lv, tmp_path):
    for unit in ("Msun/pc3", "kg/m3"):
        save_map(tmp_path / "map.fits", DENSITY, None, lv, record(lv, unit))
        found = plot_data.top_down(tmp_path / "map.fits", Sample())
        np.testing.assert_allclose(found.density, np.where(lv.observed_longitudes, DENSITY, np.nan), rtol=1e-5)
    grid, centre = found.grid, found.centre_deg
    assert centre == (0.0, 0.0) and corners_pc(grid, centre)[0].mean() > corners_pc(grid)[0].mean() + 7
    ran = iris("plot", "top-down", tmp_path / "map.fits", "--orbit", "walker", "-o", tmp_path / "a.png")
    assert ran.code == 0, ran.err


def test_other_and_damaged_files_are_refused(iris, lv, path, tmp_path):
    with pytest.raises(DataError, match="not a map"):
        load_map(sky.cube(path))
    save_map(tmp_path / "map.fits", DENSITY, None, lv, record(lv, "kg/m3"))
    with fits.open(tmp_path / "map.fits") as hdus:
        hdus["OBSERVED"].header["IRISLV"] = "{"
        hdus.writeto(tmp_path / "bad.fits")
    (tmp_path / "bad.npz").write_bytes(b"no")
    for kind, name in (("top-down", "bad.fits"), ("top-down", "none.fits"), ("lv", "bad.npz"), ("lv", "none.npz")):
        ran = iris("plot", kind, tmp_path / name, "-o", tmp_path / "a.png")
        assert ran.code == 1 and name in ran.err and "Traceback" not in ran.err, (ran.code, ran.err)
    assert not (tmp_path / "a.png").exists()
