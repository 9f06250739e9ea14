"""What `iris cube` and `iris revert` write can be drawn by `iris plot`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from iris_cli.commands import plot_data
from iris_cli.commands.plot_data import Selection
from iris_cli.errors import DataError
from iris_cli.standard.top_down_plane import corners_pc
from iris_cli.telescope.lv_file import save_lv
from iris_cli.telescope.map_file import load_map, save_map
from iris_cli.telescope.regrid import read_lv
from tests.telescope import sky
from tests.telescope.runs import GRID

TOLD: dict = {"software": {}, "networks": [], "files": []}
DENSITY = np.random.default_rng(0).random(GRID.density_shape[1:]).astype(np.float32)


@pytest.mark.parametrize("unit", ["kg/m3", "Msun/pc3"])
def test_a_map_is_drawn_around_sgr_a(iris: Callable, tmp_path: Path, unit: str) -> None:
    path = tmp_path / "map.fits"
    save_map(path, DENSITY, None, read_lv([sky.cube(tmp_path / "cube.fits")], GRID), unit, TOLD)
    found = plot_data.top_down(path, Selection())
    np.testing.assert_allclose(found.density, DENSITY, rtol=1e-5)
    grid, centre = found.grid, found.centre_deg
    assert centre == (0.0, 0.0) and corners_pc(grid, centre)[0].mean() > corners_pc(grid)[0].mean() + 7
    ran = iris("plot", "top-down", path, "--orbit", "walker", "-o", tmp_path / "a.png")
    assert ran.code == 0, ran.err


def test_an_image_of_iris_cube_is_the_same_from_npz_and_fits(iris: Callable, tmp_path: Path) -> None:
    made = read_lv([sky.cube(tmp_path / "cube.fits")], GRID)
    for name in ("lv.npz", "lv.fits"):
        save_lv(made, tmp_path / name)
    one, other = (plot_data.lv_image(tmp_path / name, Selection()) for name in ("lv.npz", "lv.fits"))
    np.testing.assert_array_equal(one.image, other.image)
    assert one.label == other.label and one.place == other.place
    np.testing.assert_allclose(one.lon.centres(), other.lon.centres(), atol=1e-9)
    for kind in ("lv", "spectrum"):
        ran = iris("plot", kind, tmp_path / "lv.npz", "-o", tmp_path / "a.png")
        assert ran.code == 0, ran.err


def test_what_is_no_map_or_no_image_is_refused(iris: Callable, tmp_path: Path) -> None:
    path = sky.cube(tmp_path / "cube.fits")
    with pytest.raises(DataError, match="no map"):
        load_map(path)
    save_map(tmp_path / "map.fits", DENSITY, None, read_lv([path], GRID), "kg/m3", TOLD)
    with fits.open(tmp_path / "map.fits") as hdus:
        hdus["OBSERVED"].header["IRISGRID"] = "{"
        hdus.writeto(tmp_path / "bad.fits")
    (tmp_path / "bad.npz").write_bytes(b"no")
    for kind, name in (("top-down", "bad.fits"), ("top-down", "none.fits"), ("lv", "bad.npz"), ("lv", "none.npz")):
        ran = iris("plot", kind, tmp_path / name, "-o", tmp_path / "a.png")
        assert ran.code == 1 and name in ran.err and "Traceback" not in ran.err, (ran.code, ran.err)
    assert not (tmp_path / "a.png").exists()
