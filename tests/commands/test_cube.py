"""`iris cube`."""

import json

import numpy as np
import pytest

from iris_cli.config.cube import CubeConfig
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.errors import IrisError, UsageError
from iris_cli.telescope.regrid import plan_regrid, write_lv_image
from tests.commands.errors import done
from tests.telescope import sky
from tests.training.makers import write_pairs


@pytest.fixture
def cube(tmp_path):
    return sky.cube(tmp_path / "cube.fits")


def test_an_image_comes_on_the_grid_of_a_preset_shards_or_a_file(iris, cube, tmp_path):
    ran = iris("cube", cube, "-o", tmp_path / "lv.npz", "--preset", "tiny", "--min-coverage", 0.01)
    assert ran.code == 0 and "of the image filled" in ran.out, ran.err
    assert "fill" in ran.err and "dark" in ran.err
    with np.load(tmp_path / "lv.npz") as made:
        assert made["image"].shape == (64, 64) and str(made["unit"]) == "K"
        i, j = np.unravel_index(made["image"].argmax(), (64, 64))
        assert made["longitude_deg"][i] == pytest.approx(0.12, abs=0.03)
        assert made["velocity_km_s"][j] == pytest.approx(35, abs=4)
    shards = write_pairs(tmp_path / "shards", {"train": range(3)}, grid=sky.GRID)
    result = json.loads(iris("cube", cube, "-o", tmp_path / "a.npz", "--shards", shards, "--json", "-q").out)
    assert result["shape"] == [32, 32]
    grid = "".join(f"{name} = {value}\n" for name, value in vars(sky.GRID).items())
    (tmp_path / "cube.toml").write_text(f'latitude = "max"\n[cube]\nunit = "mK"\n[grid]\n{grid}')
    again = json.loads(iris("cube", cube, "-o", tmp_path / "b.npz", "--config", tmp_path / "cube.toml", "--json").out)
    assert again["latitude"] == "max" and again["peak_K"] < 0.01 * result["peak_K"]
    assert len(result["cubes"]) == 1 and not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_from_python_an_image_is_written_once_unless_it_may_be_replaced(cube, tmp_path):
    out, how = tmp_path / "lv.npz", (GRID_PRESETS["tiny"], "mean", CubeConfig(min_coverage=0.01))
    made = write_lv_image([cube], out, *how)
    with np.load(out) as image:
        assert made.to_dict()["mean_K"] == pytest.approx(image["image"].mean(), rel=1e-5)
    with pytest.raises(IrisError, match="exists"):
        write_lv_image([cube], out, *how)
    assert write_lv_image([cube], out, *how, overwrite=True).to_dict() == made.to_dict()
    for work in (lambda: write_lv_image([], tmp_path / "none.npz", *how), lambda: plan_regrid([], *how)):
        with pytest.raises(UsageError, match="no cube was named"):
            work()


def test_the_cube_of_a_mock_galaxy_is_the_image_that_networks_are_trained_on(iris, tmp_path):
    """The whole way round: matter -> FITS cube -> l-v image, and matter -> pair."""
    assert iris("mock", tmp_path / "galaxy", "-n", 1, "-q").code == 0
    assert iris("observe", tmp_path / "galaxy", 0, "--out", tmp_path / "cube.fits", "-q").code == 0
    done(iris("preobserve", tmp_path / "galaxy", tmp_path / "pairs", "--validation-fraction", 0, "-q"))
    done(iris("cube", tmp_path / "cube.fits", "--shards", tmp_path / "pairs", "-o", tmp_path / "lv.npz", "-q"))
    from iris_cli.pairs.datasets import PreObservedDataset

    observation = PreObservedDataset(tmp_path / "pairs")[0][0][0].numpy()
    with np.load(tmp_path / "lv.npz") as made:
        np.testing.assert_allclose(made["image"], observation, atol=2e-3 * observation.max())
        np.testing.assert_allclose(made["coverage"], 1.0, atol=1e-3)


@pytest.mark.parametrize("name", ["cmz_hnco_recon_lbv.fits.gz", "grs_13co10_galactic.fits"])
def test_real_cubes_keep_their_flux(shared_data, name):
    from astropy.io import fits

    from iris_cli.config.grid import Grid
    from iris_cli.telescope.regrid import regrid

    path = shared_data / name
    with fits.open(path) as file:
        h, data = file[0].header, np.nan_to_num(file[0].data.astype(float))
    flux = data.sum() * abs(h["CDELT1"] * h["CDELT2"] * h["CDELT3"]) / 1e3
    lon = 0.0 if "cmz" in name else 55.425
    grid = Grid(lat_min_deg=-0.6, lat_max_deg=0.6, lon_min_deg=-2, lon_max_deg=2, v_min_km_s=-220, v_max_km_s=220)
    made = regrid([path], grid.scaled(2, 80, 24, 88), config=CubeConfig(centre_lon_deg=lon, min_coverage=0))
    assert sky.flux(made.image, made.grid) == pytest.approx(flux, rel=5e-3)
