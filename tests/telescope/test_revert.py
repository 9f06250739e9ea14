"""From a cube to a map: units, provenance, ensembles, warnings; and what is refused."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.commands import plot_data
from iris_cli.commands.options import Sample
from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.telescope.lv_image import save_lv
from iris_cli.telescope.regrid import regrid
from iris_cli.telescope.revert import revert, summarise_maps
from iris_cli.training.checkpoint import load, save
from iris_cli.training.model_file import export
from iris_cli.training.trained_run import open_run
from tests.telescope import runs, sky
from tests.telescope.runs import GRID


def test_the_map_is_the_prediction_for_the_regridded_cube(folder):
    run = folder / "run"
    made = revert([run], [folder / "cube.fits"])
    reverter = open_run(run).checkpoint.make_reverter()
    image = regrid([folder / "cube.fits"], GRID).image
    with torch.no_grad():
        expected = reverter(torch.from_numpy(image)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(made.density, expected, rtol=1e-6)
    assert made.spread is None and made.density.max() > 0


def test_an_ensemble_gives_mean_and_spread(folder):
    members = [revert([folder / f"ensemble/member-0{k}"], [folder / "cube.fits"]).density for k in (1, 2)]
    made = revert([folder / "ensemble"], [folder / "cube.fits"])
    named = revert([folder / f"ensemble/member-0{k}" for k in (1, 2)], [folder / "cube.fits"])
    np.testing.assert_allclose(made.density, np.mean(members, axis=0), rtol=1e-6)
    np.testing.assert_allclose(made.spread, np.abs(members[0] - members[1]) / np.sqrt(2), atol=1e-6)
    np.testing.assert_array_equal(named.density, made.density)
    assert (made.record.summary.mass_Msun.spread or 0) > 0


def test_the_fits_map_carries_units_axes_and_provenance(folder, tmp_path):
    cube = folder / "cube.fits"
    made = revert([folder / "ensemble"], [cube], out=tmp_path / "map.fits", config=CubeConfig(centre_lon_deg=0.02))
    with fits.open(tmp_path / "map.fits") as file:
        file.verify("exception")
        h = file[0].header
        assert [hdu.name for hdu in file] == ["PRIMARY", "SPREAD", "MASK", "OBSERVED", "COVERAGE"]
        assert h["BUNIT"] == file["SPREAD"].header["BUNIT"] == "solMass pc-3"
        np.testing.assert_allclose(file[0].data[:, ::-1], made.density, rtol=1e-6)
        np.testing.assert_allclose(file["OBSERVED"].data[:, ::-1].T, made.observed.image)
        j, i = np.unravel_index(file[0].data.argmax(), file[0].data.shape)
        lon, distance = WCS(h).wcs_pix2world(i, j, 0)
        r, k = np.unravel_index(made.density.argmax(), made.density.shape)
        assert float(lon) == pytest.approx(GRID.longitude.centres()[k] + 0.02)
        assert float(distance) == pytest.approx(GRID.distance.centres()[r])
        assert h["CUBSHA1"] == hashlib.sha256(cube.read_bytes()).hexdigest()
        best = folder / "ensemble/member-02/checkpoints/best.pt"
        assert h["NET2"] == str(best) and h["NETSHA2"] == hashlib.sha256(best.read_bytes()).hexdigest()
        assert h["V_TORCH"] == torch.__version__ and h["ORIGIN"].startswith("IRIS")
        assert json.loads(file["OBSERVED"].header["IRISLV"])["options"]["centre_lon_deg"] == 0.02
        assert json.loads(h["IRISMAP"])["quality"]["input_score"]["unlike"] is True


@pytest.fixture(scope="module")
def sampled(folder, tmp_path_factory):
    """A run with a sampler."""
    return runs.train(tmp_path_factory.mktemp("sampled") / "run", folder / "shards", sampler=True)


def test_a_run_with_a_sampler_gives_samples_and_what_follows_from_them(iris, folder, sampled, tmp_path):
    out, figure = tmp_path / "map.fits", tmp_path / "map.png"
    words = ("revert", sampled, folder / "cube.fits", "-o", out, "--samples", 12)
    ran = iris(*words, "--figure", figure)
    assert (
        ran.code == 0
        and "12 samples of 1 network (mean and central 68 %)" in ran.out
        and " to " in ran.out
        and figure.stat().st_size > 20_000
    )
    made = revert([sampled], [folder / "cube.fits"], samples=12)
    assert made.samples is not None and made.samples.shape == (12, 32, 32)
    np.testing.assert_allclose(made.density, made.samples.mean(axis=0), rtol=1e-5)
    with fits.open(out) as file:
        names = ["PRIMARY", "STD", "QUANTILES", "SAMPLES", "MASK", "OBSERVED", "COVERAGE"]
        assert [hdu.name for hdu in file] == names
        samples = file["SAMPLES"].data.astype(np.float64)
        np.testing.assert_allclose(samples[:, :, ::-1], made.samples, rtol=1e-6)
        np.testing.assert_allclose(file[0].data, samples.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(file["STD"].data, samples.std(axis=0, ddof=1), rtol=1e-3)
        np.testing.assert_allclose(file["QUANTILES"].data[2], np.median(samples, axis=0), rtol=1e-4)
        assert file["QUANTILES"].header["QUANT2"] == 0.16 and file["SAMPLES"].header["BUNIT"] == "solMass pc-3"
        mass = json.loads(file[0].header["IRISMAP"])["summary"]["mass_Msun"]
        assert mass["low"] < mass["mean"] < mass["high"]
    more = revert([sampled], [folder / "cube.fits"], samples=20).samples
    np.testing.assert_allclose(more[:12], made.samples, rtol=1e-4)
    assert revert([sampled], [folder / "cube.fits"], samples=0).samples is None
    both = revert([folder / "run", sampled], [folder / "cube.fits"])  # not all have a sampler
    assert both.samples is None and both.spread is not None
    planned = json.loads(iris(*words, "--overwrite", "--dry-run", "--json").out)
    assert planned["writes"][str(out)] == pytest.approx(out.stat().st_size, abs=100_000)


def test_a_sampler_of_other_weights_is_not_used(iris, folder, sampled, tmp_path):
    run = Path(shutil.copytree(sampled, tmp_path / "run"))
    shutil.copy(folder / "run/checkpoints/best.pt", run / "checkpoints/best.pt")
    ran = iris("revert", run, folder / "cube.fits", "-o", tmp_path / "map.fits")
    assert ran.code == 0 and "was trained for other weights" in ran.err and "samples" not in ran.out


def test_a_regridded_image_gives_the_same_map_as_its_cube(iris, folder, tmp_path):
    run, cube = folder / "run", folder / "cube.fits"
    for name in ("lv.npz", "lv.fits"):
        assert iris("cube", cube, "--run", run, "-o", tmp_path / name, "-q").code == 0
        made = revert([run], [tmp_path / name])
        np.testing.assert_array_equal(made.density, revert([run], [cube]).density)
        assert made.observed.cubes[0].sha256 == hashlib.sha256(cube.read_bytes()).hexdigest()


def test_the_mass_is_that_of_the_wedge():
    density, everywhere = np.full((2, *GRID.density_shape[1:]), 2.0), np.ones(GRID.lon_steps, bool)
    summary = summarise_maps(density, GRID, everywhere)
    lon, lat, r = (a.edges()[[0, -1]] for a in (GRID.longitude, GRID.latitude, GRID.distance))
    wedge = np.deg2rad(np.ptp(lon)) * np.deg2rad(np.ptp(lat)) * (r[1] ** 3 - r[0] ** 3) / 3
    assert summary.mass_Msun.mean == pytest.approx(2.0 * wedge, rel=1e-3)
    assert summary.near_share.mean == pytest.approx(0.47, abs=0.02)  # the far half of a wedge is wider
    assert summary.unobserved_mass_Msun.mean == 0


def test_gas_at_unobserved_longitudes_is_counted_apart_and_masked(folder, tmp_path):
    made = revert([folder / "run"], [folder / "cube.fits"], out=tmp_path / "map.fits", figure=tmp_path / "map.png")
    observed = made.observed.observed_longitudes
    lon = GRID.longitude.centres()
    np.testing.assert_array_equal(observed, np.abs(lon) < 0.36)  # the cube covers l = -0.34 ... 0.34
    whole, seen = (summarise_maps(made.density[None], GRID, o) for o in (np.ones_like(observed), observed))
    found = made.record.summary
    assert found == seen and 0 < found.unobserved_mass_Msun.mean < whole.mass_Msun.mean
    assert found.mass_Msun.mean + found.unobserved_mass_Msun.mean == pytest.approx(whole.mass_Msun.mean)
    share = found.unobserved_mass_Msun.mean / whole.mass_Msun.mean
    assert f"({100 * share:.0f} %) predicted at longitudes that were not observed" in made.record.caption()
    with fits.open(tmp_path / "map.fits") as file:
        same = [[hdu.header[f"{card}{k}"] for card in ("CTYPE", "CRVAL", "CDELT") for k in (1, 2)] for hdu in file[:2]]
        assert file[1].name == "MASK" and same[0] == same[1]
        np.testing.assert_array_equal(file["MASK"].data[:, ::-1], np.broadcast_to(~observed, (32, 32)))
        assert file["MASK"].data.dtype == np.uint8
    shown = plot_data.top_down(tmp_path / "map.fits", Sample()).density
    np.testing.assert_array_equal(np.isnan(shown).all(axis=0), ~observed)


def test_a_summary_without_any_observed_longitude_is_zero():
    summary = summarise_maps(np.ones((1, *GRID.density_shape[1:])), GRID, np.zeros(GRID.lon_steps, bool))
    assert summary.mass_Msun.mean == summary.near_share.mean == summary.peak_Msun_pc3.mean == 0


def test_the_command_reports_the_map_and_its_quality(iris, folder, tmp_path):
    out, figure = tmp_path / "map.fits", tmp_path / "map.png"
    words = ("revert", folder / "ensemble", folder / "cube.fits", "-o", out)
    ran = iris(*words, "--figure", figure)
    assert ran.code == 0, ran.err
    assert figure.stat().st_size > 10_000
    assert "solar masses" in ran.out and "training set" in ran.out and "map.fits" in ran.out
    assert "unlike the training set" in ran.err and "Do not trust" in ran.err
    again = iris(*words)
    assert again.code == 2 and "--overwrite" in again.err
    made = json.loads(iris(*words, "--overwrite", "--json", "-q").out)
    assert made["quality"]["input_score"]["unlike"] is True and made["quality"]["input_score"]["held_out"] == 40
    consistency = made["quality"]["consistency"]
    assert consistency["true_maps"] == 16 and len(consistency["true_maps_5_50_95"]) == 3
    runs = made["quality"]["runs"]
    assert set(runs) == {"difference", "near_difference", "near_difference_columns"} and runs["difference"] > 0
    assert "explains" not in ran.out and "nats more probable" in ran.out and "the runs differ by" in ran.out
    assert made["provenance"]["trained_lines_GHz"] == pytest.approx({"13CO 2-1": 220.3986841})


def test_a_dry_run_shows_the_plan_and_writes_nothing(iris, folder, tmp_path):
    words = ("revert", folder / "ensemble", folder / "cube.fits", "-o", tmp_path / "map.fits", "--dry-run", "--json")
    plan = json.loads(iris(*words).out)
    assert len(plan["networks"]) == 2 and plan["image"] == [32, 32] and plan["cubes"][0]["unit"] == "K"
    assert not list(tmp_path.iterdir())
    (tmp_path / "c.toml").write_text('[cube]\nunit = "mK"\n[grid]\nr_steps = 64\nr_crop_max = 64\n')
    ran = iris(*words[:-1], "--config", tmp_path / "c.toml")
    assert ran.code == 0 and "the grid of the run is used" in ran.err and "32 x 32 pixels" in ran.out


def test_another_line_and_another_place_give_a_warning(iris, folder, tmp_path):
    run, cube = folder / "run", sky.cube(tmp_path / "hnco.fits", cards={"RESTFRQ": 87.925e9, "CRVAL1": 55.0})
    out = ("-o", tmp_path / "map.fits", "--figure", tmp_path / "map.pdf")
    ran = iris("revert", run, cube, *out, "--centre-lon", 55)
    assert ran.code == 0 and "mean nothing elsewhere" in ran.err
    assert "87.9250 GHz" in ran.err and "13CO 2-1 at 220.3987 GHz" in ran.err


def test_a_checkpoint_outside_its_run_folder_is_not_compared_with_the_training_set(iris, folder, tmp_path):
    shutil.copy(folder / "run/checkpoints/best.pt", tmp_path / "alone.pt")
    ran = iris("revert", tmp_path / "alone.pt", folder / "cube.fits", "-o", tmp_path / "map.fits", "--json")
    assert ran.code == 0 and "is not in a run folder" in ran.err
    quality = json.loads(ran.out)["quality"]
    assert quality["input_score"] is None and "is not in a run folder" in quality["no_score"]


def test_networks_and_images_of_another_kind_are_refused(folder, tmp_path):
    run, cube = folder / "run", folder / "cube.fits"
    checkpoint = load(run / "checkpoints/best.pt")
    for changes, message in (
        ({"quantity": "v_density"}, "takes a v_density"),
        ({"grid": replace(GRID, v_max_km_s=120.0)}, "differ in their grid"),
    ):
        save(replace(checkpoint, data=replace(checkpoint.data, **changes)), tmp_path / "other.pt")
        with pytest.raises(DataError, match=message):
            revert([run, tmp_path / "other.pt"], [cube])
    save_lv(regrid([cube], replace(GRID, v_max_km_s=120.0)), tmp_path / "lv.npz")
    with pytest.raises(DataError, match="differ in their grid"):
        revert([run], [tmp_path / "lv.npz"])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("RUN", "-o", "map.fits"), 2, "no cube was named"),
        (("RUN", "CUBE", "-o", "map.png"), 2, "ends in none of .fits"),
        (("RUN", "CUBE", "-o", "map.fits", "--figure", "map.gif"), 2, ".png"),
        (("RUN", "CUBE", "-o", "nowhere/map.fits"), 1, "is not a folder"),
        (("RUN", "CUBE", "-o", "map.fits", "--density-unit", "g/cm3"), 2, "kg/m3"),
        (("RUN", "gone.fits", "-o", "map.fits"), 1, "does not exist"),
        (("RUN", "CUBE", "-o", "map.fits", "--efficiency", 75), 2, "fraction"),
        (("RUN", "CUBE", "-o", "map.fits", "--centre-lon", 20), 1, "--centre-lon"),
    ],
)
def test_an_impossible_reversion_is_one_line_and_leaves_nothing(
    iris, folder, tmp_path, monkeypatch, words, code, message
):
    monkeypatch.chdir(tmp_path)
    named = {"RUN": folder / "run", "CUBE": folder / "cube.fits"}
    ran = iris("revert", *(named.get(word, word) for word in words))
    assert ran.code == code and message in ran.err and "Traceback" not in ran.err
    assert not list(tmp_path.iterdir())


# --- the network of the package ---------------------------------------------------------------------------------------


def _scores(samples):
    return {"skill": -0.02, "predictors": {"samples": {"crps": samples}, "prior": {"crps": 0.2}}}


@pytest.mark.parametrize(
    ("tested", "warning"),
    [
        ({"skill": -0.02}, "(skill -0.02). Do not trust the map"),
        ({"skill": 0.02}, ""),
        (_scores(0.21), "as good as its samples (CRPS 0.200 and 0.210). Do not trust the map"),
        (_scores(0.19), ""),
    ],
)
def test_a_network_that_failed_its_test_is_a_warning(iris, folder, tmp_path, tested, warning):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    (run / "test.json").write_text(json.dumps(tested))
    ran = iris("revert", run, folder / "cube.fits", "-o", tmp_path / "map.fits")
    assert ran.code == 0 and warning in ran.err and ("in the latest test" in ran.err) == bool(warning), ran.err


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    """A small network in place of the packaged one, of 13CO."""
    file = tmp_path_factory.mktemp("package") / "small.iris"
    export(folder / "run", file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.with_name("small.iris.sha256").write_text(f"{digest}  small.iris\n")
    return file


@pytest.fixture
def in_package(model, tmp_path, monkeypatch):
    monkeypatch.setattr("iris_cli.training.model_file.PACKAGED", model)
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return model


def test_without_a_run_the_network_of_the_package_gives_the_map(iris, folder, in_package):
    ran = iris("revert", folder / "cube.fits")
    assert ran.code == 0 and "no run was named" in ran.err and "13co" in ran.err.lower() and str(in_package) in ran.err
    iris("revert", in_package, folder / "cube.fits", "-o", "named.fits")
    np.testing.assert_array_equal(fits.getdata("map.fits"), fits.getdata("named.fits"))
    absent = iris("revert", "gone", folder / "cube.fits", "-o", "other.fits")
    assert absent.code == 1 and absent.err == "error: gone does not exist\nhint: name runs, then FITS cubes\n"
    planned = iris("revert", folder / "cube.fits", "-o", "other.fits", "--dry-run")
    assert planned.code == 0 and "no run was named" in planned.err
    for words in ((), ("--dry-run",)):
        ran = iris("revert", "absent.fits", "-o", "other.fits", *words)
        assert ran.code == 1 and ran.err.startswith("error: absent.fits does not exist"), ran.err


def test_the_packaged_network_refuses_a_cube_of_another_line(iris, folder, in_package):
    shutil.copy(folder / "cube.fits", "other.fits")
    fits.setval("other.fits", "RESTFRQ", value=110.201354e9)
    ran = iris("revert", "other.fits")
    assert ran.code == 1 and "of a line at 110.2014 GHz" in ran.err and "iris train" in ran.err
    assert not Path("map.fits").exists()
    assert iris("revert", folder / "run", "other.fits").code == 0, "a network that is named is used, with a warning"
    fits.delval("other.fits", "RESTFRQ")
    ran = iris("revert", "other.fits", "--overwrite")
    assert ran.code == 0 and "other.fits has no rest frequency" in ran.err


def test_a_damaged_network_of_the_package_is_refused(iris, folder, in_package, monkeypatch):
    for name in ("small.iris", "small.iris.sha256"):
        shutil.copy(in_package.with_name(name), name)
    monkeypatch.setattr("iris_cli.training.model_file.PACKAGED", Path("small.iris"))
    with Path("small.iris").open("r+b") as file:
        file.seek(-2000, 2)
        file.write(b"x")
    ran = iris("revert", folder / "cube.fits")
    assert ran.code == 1 and "does not have the SHA-256" in ran.err and "install IRIS again" in ran.err
    Path("small.iris").unlink()
    assert "small.iris: No such file" in iris("revert", folder / "cube.fits").err
    assert not Path("map.fits").exists()
