"""From a cube to a map: units, provenance, ensembles, warnings; and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.telescope.regrid import read_lv
from iris_cli.telescope.revert import measure, revert
from iris_cli.training.checkpoint import load, save
from iris_cli.training.test import open_run
from tests.telescope import sky
from tests.telescope.runs import GRID, train, write_shards
from tests.training.makers import write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """shards, ensemble/member-01 and -02, cube.fits"""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("revert")
    write_shards(path / "shards")
    for seed in (0, 1):
        train(path / "ensemble" / f"member-0{seed + 1}", path / "shards", seed)
    sky.cube(path / "cube.fits")
    return path


def test_the_map_is_what_the_network_says_of_the_image(folder: Path) -> None:
    run = folder / "ensemble/member-01"
    made = revert([run], [folder / "cube.fits"])
    reverter = open_run(run).checkpoint.make_reverter()
    image = read_lv([folder / "cube.fits"], GRID).image
    with torch.no_grad():
        expected = reverter(torch.from_numpy(image)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(made.density, expected, rtol=1e-6)
    assert made.spread is None and made.density.max() > 0


def test_an_ensemble_gives_mean_and_spread(folder: Path) -> None:
    members = [revert([folder / f"ensemble/member-0{k}"], [folder / "cube.fits"]).density for k in (1, 2)]
    made = revert([folder / "ensemble"], [folder / "cube.fits"])
    named = revert([folder / f"ensemble/member-0{k}" for k in (1, 2)], [folder / "cube.fits"])
    np.testing.assert_allclose(made.density, np.mean(members, axis=0), rtol=1e-6)
    np.testing.assert_allclose(made.spread, np.abs(members[0] - members[1]) / np.sqrt(2), atol=1e-6)
    np.testing.assert_array_equal(named.density, made.density)
    assert made.told["map"]["mass_Msun"]["spread"] > 0


def test_the_fits_map_carries_units_axes_and_provenance(folder: Path, tmp_path: Path) -> None:
    cube = folder / "cube.fits"
    made = revert([folder / "ensemble"], [cube], out=tmp_path / "map.fits", config=CubeConfig(centre_lon_deg=0.02))
    with fits.open(tmp_path / "map.fits") as file:
        file.verify("exception")
        h = file[0].header
        assert [hdu.name for hdu in file] == ["PRIMARY", "SPREAD", "OBSERVED", "COVERAGE"]
        assert h["BUNIT"] == file["SPREAD"].header["BUNIT"] == "kg m-3"
        np.testing.assert_allclose(file[0].data[:, ::-1], made.density * 6.7682e-20, rtol=1e-3)
        np.testing.assert_allclose(file["OBSERVED"].data[:, ::-1].T, made.seen.image)
        j, i = np.unravel_index(file[0].data.argmax(), file[0].data.shape)
        lon, distance = WCS(h).wcs_pix2world(i, j, 0)
        r, k = np.unravel_index(made.density.argmax(), made.density.shape)
        assert float(lon) == pytest.approx(GRID.longitude.centres()[k] + 0.02)
        assert float(distance) == pytest.approx(GRID.distance.centres()[r])
        assert h["CUSHA1"] == hashlib.sha256(cube.read_bytes()).hexdigest()
        best = folder / "ensemble/member-02/checkpoints/best.pt"
        assert h["CKPT2"] == str(best) and h["CKSHA2"] == hashlib.sha256(best.read_bytes()).hexdigest()
        assert h["V_TORCH"] == torch.__version__ and h["ORIGIN"].startswith("IRIS")
        assert json.loads(h["IRISTOLD"])["options"]["centre_lon_deg"] == 0.02
    solar = revert([folder / "ensemble"], [cube], out=tmp_path / "solar.fits", unit="Msun/pc3")
    with fits.open(tmp_path / "solar.fits") as file:
        assert file[0].header["BUNIT"] == "solMass pc-3"
        np.testing.assert_allclose(file[0].data[:, ::-1], solar.density, rtol=1e-6)


def test_a_regridded_image_gives_the_same_map_as_its_cube(iris: Callable, folder: Path, tmp_path: Path) -> None:
    run, cube = folder / "ensemble/member-01", folder / "cube.fits"
    for name in ("lv.npz", "lv.fits"):
        assert iris("cube", cube, "--run", run, "-o", tmp_path / name, "-q").code == 0
        made = revert([run], [tmp_path / name])
        np.testing.assert_array_equal(made.density, revert([run], [cube]).density)
        assert made.told["made_of"]["cubes"][0]["sha256"] == hashlib.sha256(cube.read_bytes()).hexdigest()


def test_the_mass_is_that_of_the_wedge(folder: Path) -> None:
    density = np.full((2, *GRID.density_shape[1:]), 2.0)
    told = measure(density, GRID)
    lon, lat, r = (a.edges()[[0, -1]] for a in (GRID.longitude, GRID.latitude, GRID.distance))
    wedge = np.deg2rad(np.ptp(lon)) * np.deg2rad(np.ptp(lat)) * (r[1] ** 3 - r[0] ** 3) / 3
    assert told["mass_Msun"]["mean"] == pytest.approx(2.0 * wedge, rel=1e-3)
    assert told["near_share"]["mean"] == pytest.approx(0.47, abs=0.02)  # the far half of a wedge is wider


def test_the_command_says_what_it_made_and_what_it_is_worth(iris: Callable, folder: Path, tmp_path: Path) -> None:
    words = (
        "revert",
        folder / "ensemble",
        folder / "cube.fits",
        "-o",
        tmp_path / "map.fits",
        "--figure",
        tmp_path / "map.png",
    )
    ran = iris(*words)
    assert ran.code == 0, ran.err
    assert (tmp_path / "map.png").stat().st_size > 10_000
    assert "solar masses" in ran.out and "training set" in ran.out and "map.fits" in ran.out
    assert "unlike the training set" in ran.err and "Do not trust" in ran.err
    again = iris(*words)
    assert again.code == 2 and "--overwrite" in again.err
    told = json.loads(iris(*words, "--overwrite", "--json", "-q").out)
    assert told["novelty"]["unlike"] is True and told["novelty"]["held_out"] == 16
    assert {entry["orbit"] for entry in told["consistency"]} == {"Walker et al. 2025", "Lipman et al. 2026"}
    assert told["line"]["learned_GHz"] == pytest.approx({"13co 2-1": 220.3986841})


def test_a_dry_run_says_what_would_be_done_and_does_nothing(iris: Callable, folder: Path, tmp_path: Path) -> None:
    ran = iris("revert", folder / "ensemble", folder / "cube.fits", "-o", tmp_path / "map.fits", "--dry-run", "--json")
    told = json.loads(ran.out)
    assert len(told["networks"]) == 2 and told["image"] == [32, 32] and told["cubes"][0]["unit"] == "K"
    assert not list(tmp_path.iterdir())


def test_a_file_for_both_commands_may_hold_a_grid_which_the_run_already_has(
    iris: Callable, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text('[cube]\nunit = "mK"\n[grid]\nr_steps = 64\nr_crop_max = 64\n')
    words = ("revert", folder / "ensemble", folder / "cube.fits", "-o", tmp_path / "map.fits", "--dry-run")
    ran = iris(*words, "--config", tmp_path / "c.toml")
    assert ran.code == 0 and "the grid is the run's" in ran.err and "32 x 32 pixels" in ran.out


def test_another_line_and_another_place_are_warned_of(iris: Callable, folder: Path, tmp_path: Path) -> None:
    h = sky.header()
    h["RESTFRQ"] = 87.925e9
    sky.write(tmp_path / "hnco.fits", sky.sample(h, sky.Cloud()), h)
    run = folder / "ensemble/member-01"
    ran = iris("revert", run, tmp_path / "hnco.fits", "-o", tmp_path / "map.fits")
    assert "87.9250 GHz" in ran.err and "13co 2-1 at 220.3987 GHz" in ran.err
    h["CRVAL1"] = 55.0
    sky.write(tmp_path / "far.fits", sky.sample(h, sky.Cloud()) + 1.0, h)
    ran = iris(
        "revert",
        run,
        tmp_path / "far.fits",
        "-o",
        tmp_path / "far_map.fits",
        "--centre-lon",
        55,
        "--figure",
        tmp_path / "far.pdf",
    )
    assert ran.code == 0 and "mean nothing elsewhere" in ran.err


def test_missing_shards_are_said_plainly(iris: Callable, folder: Path, tmp_path: Path) -> None:
    checkpoint = load(folder / "ensemble/member-01/checkpoints/best.pt")
    checkpoint.config = {**checkpoint.config, "data": [str(tmp_path / "gone")]}
    save(checkpoint, tmp_path / "alone.pt")
    ran = iris("revert", tmp_path / "alone.pt", folder / "cube.fits", "-o", tmp_path / "map.fits", "--json")
    assert ran.code == 0 and "gone" in ran.err
    told = json.loads(ran.out)
    assert told["novelty"]["score"] is None and "cannot be read" in told["novelty"]["why"]


def test_networks_and_images_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    run, cube = folder / "ensemble/member-01", folder / "cube.fits"
    write_pairs(tmp_path / "columns", {"train": range(8)}, grid=GRID)
    with pytest.raises(DataError, match="takes a v_density"):
        revert([train(tmp_path / "columns_run", tmp_path / "columns")], [cube])
    checkpoint = load(run / "checkpoints/best.pt")
    checkpoint.data = replace(checkpoint.data, grid=replace(GRID, v_max_km_s=120.0))
    save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(DataError, match="differ in their grid"):
        revert([run, tmp_path / "other.pt"], [cube])
    from iris_cli.telescope.lv_file import save_lv

    save_lv(read_lv([cube], replace(GRID, v_max_km_s=120.0)), tmp_path / "lv.npz")
    with pytest.raises(DataError, match="differ in their grid"):
        revert([run], [tmp_path / "lv.npz"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("RUN", "-o", "map.fits"), 2, "no cube was named"),
        (("CUBE", "-o", "map.fits"), 2, "no run among"),
        (("RUN", "CUBE", "-o", "map.png"), 2, "ends in none of .fits"),
        (("RUN", "CUBE", "-o", "map.fits", "--figure", "map.gif"), 2, ".png"),
        (("RUN", "CUBE", "-o", "nowhere/map.fits"), 1, "is not a folder"),
        (("RUN", "CUBE", "-o", "map.fits", "--density-unit", "g/cm3"), 2, "kg/m3"),
        (("RUN", "gone.fits", "-o", "map.fits"), 1, "does not exist"),
        (("RUN", "CUBE", "-o", "map.fits", "--efficiency", 75), 2, "fraction"),
        (("RUN", "CUBE", "-o", "map.fits", "--centre-lon", 20), 1, "--centre-lon"),
    ],
)
def test_what_cannot_be_reverted_is_one_line_and_leaves_nothing(
    iris: Callable, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple, code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"RUN": folder / "ensemble/member-01", "CUBE": folder / "cube.fits"}
    ran = iris("revert", *(named.get(word, word) for word in words))
    assert ran.code == code and says in ran.err and "Traceback" not in ran.err
    assert not list(tmp_path.iterdir())
