"""Clouds, P(near) and distance of an l-v image: catalogues in, tables and FITS extensions out."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from iris_cli.config.cube import LEAST_COVERAGE
from iris_cli.config.grid import Grid
from iris_cli.config.train import DistancesConfig, TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.observers.line_of_sight import BINS, distance_edges
from iris_cli.telescope.clouds import Cloud, clouds_of, structures
from iris_cli.telescope.lv_image import LvImage, from_fits_axes
from iris_cli.telescope.near_far import NearFar, cloud_table, near_far_hdus, table_paths, write_table
from iris_cli.telescope.revert import revert
from iris_cli.training.train import train_run
from tests.telescope import runs, sky
from tests.training.makers import write_pairs

GRID = Grid().scaled(32, 32, 8, 32)
LON, V = GRID.longitude.centres(), GRID.velocity.centres()


def blob(lon, v, height=1.0):
    return height * np.exp(-0.5 * (((LON[:, None] - lon) / 0.12) ** 2 + ((V[None, :] - v) / 16.0) ** 2))


@pytest.fixture
def lv():
    image = (blob(0.7, 60.0) + blob(-0.7, -60.0, 0.5)).astype(np.float32)
    return LvImage(image, np.ones_like(image), GRID, "mean")


@pytest.fixture
def found():
    """Gas that recedes is in the nearest bin, other gas evenly behind the centre; the prior knows nothing."""
    shares = np.zeros((1, BINS, 32, 32))
    shares[0, 0, :, V > 0] = 1.0
    shares[0, BINS // 2 :, :, V <= 0] = 2.0 / BINS
    return NearFar(shares, np.full_like(shares, 1.0 / BINS), distance_edges(GRID), GRID.observer_distance_pc, "tested")


def test_the_shares_of_a_cloud_inside_the_image_add_up_to_one():
    inside, edge = Cloud("a", 0.3, v_km_s=20.0), Cloud("b", GRID.longitude.edges()[-1], v_km_s=20.0)
    assert inside.weights(GRID).sum() == pytest.approx(1.0) and edge.weights(GRID).sum() == pytest.approx(0.5)
    lon, v = (inside.weights(GRID).sum(axis=k) @ axis for k, axis in ((1, LON), (0, V)))
    assert abs(lon - 0.3) < 0.5 * GRID.longitude.step and v == pytest.approx(20.0, abs=0.5)
    moved = Cloud("c", 20.3, v_km_s=20.0).weights(GRID, (20.0, 0.0))
    np.testing.assert_allclose(moved, inside.weights(GRID), atol=1e-12)


def test_the_packaged_catalogue_has_the_clouds_of_the_cmz():
    clouds = {cloud.name: cloud for cloud in clouds_of("cmz", np.zeros((32, 32)), GRID, (0.0, 0.0))}
    assert len(clouds) == 47 and sum(abs(cloud.los_pc) > 15 for cloud in clouds.values()) > 30
    straw = clouds["16b G0.143-0.083 (Straw)"]
    assert straw.lon_deg == pytest.approx(0.143)
    assert (straw.v_km_s, straw.los_pc, straw.los_sigma_pc) == (57.0, -40.1, 17.7)


def test_catalogues_and_regions_are_read_alike(tmp_path):
    table = Table({"name": ["Brick"], "l_deg": [359.5], "v_km_s": [38.0], "sigma_v_km_s": [9.0]})
    table.write(tmp_path / "a.csv")
    table.write(tmp_path / "a.ecsv")
    region = 'galactic\ncircle(359.5, 0.02, 60.0") # color=red text={Brick v=38 sigma=9}\ncircle(0.1,0,0.02)\n'
    (tmp_path / "a.reg").write_text(region)
    for name in ("a.csv", "a.ecsv", "a.reg"):
        first, *others = clouds_of(str(tmp_path / name), np.zeros((32, 32)), GRID, (0.0, 0.0))
        assert (first.name, first.lon_deg, first.v_km_s, first.sigma_km_s) == ("Brick", -0.5, 38.0, 9.0)
    assert first.radius_deg == pytest.approx(60 / 3600) and math.isnan(others[0].v_km_s)
    assert others[0].weights(GRID).sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "name,l_deg\nx,1\n", "no column v_km_s"),
        ("a.csv", "name,l_deg,v_km_s\nx,,3\n", "has no longitude"),
        ("a.csv", "name,l_deg,v_km_s\n", "holds no cloud"),
        ("a.ecsv", "nonsense", "not a catalogue"),
        ("a.reg", "fk5\ncircle(266,-29,10)\n", "not in Galactic coordinates"),
        ("a.reg", "galactic\nbox(0,0,1,1)\n", "line 2 is not a circle"),
        ("a.reg", "galactic\ncircle(a,0,1)\n", "not a catalogue"),
    ],
)
def test_a_bad_catalogue_is_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        clouds_of(str(tmp_path / name), np.zeros((32, 32)), GRID, (0.0, 0.0))


def test_an_unknown_catalogue_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no cloud catalogue 'clouds'"):
        clouds_of("clouds", np.zeros((32, 32)), GRID, (0.0, 0.0))
    with pytest.raises(DataError, match="does not exist"):
        clouds_of(str(tmp_path / "none.csv"), np.zeros((32, 32)), GRID, (0.0, 0.0))


def test_structures_are_the_separate_peaks_of_an_image(lv):
    first, second = structures(lv.image, GRID)
    assert (first.lon_deg, first.v_km_s) == pytest.approx((0.7, 60.0), abs=1.0)
    assert (second.lon_deg, second.v_km_s) == pytest.approx((-0.7, -60.0), abs=1.0)
    assert first.sigma_km_s == pytest.approx(16.0, rel=0.3)
    joined = blob(0.3, 20.0) + blob(0.4, 28.0)  # closer than their widths
    assert len(structures(joined, GRID)) == 1 and structures(np.zeros((32, 32)), GRID) == []


def test_three_peaks_on_one_ridge_are_three_structures():
    ridge = sum(blob(lon, 0.0, height) for lon, height in ((-0.9, 0.8), (0.0, 1.0), (0.9, 0.6)))
    found = structures(ridge + 0.2 * np.exp(-0.5 * (V[None, :] / 16.0) ** 2), GRID)
    np.testing.assert_allclose([cloud.lon_deg for cloud in found], [0.0, -0.9, 0.9], atol=0.06)


def test_the_table_says_which_clouds_are_near_and_how_far_they_are(lv, found):
    clouds = [Cloud("near", 0.7, v_km_s=60.0, los_pc=-50.0, los_sigma_pc=9.0), Cloud("far", -0.7, v_km_s=-60.0)]
    near, far, outside = cloud_table([*clouds, Cloud("outside", 5.0, v_km_s=0.0)], found, lv)
    assert near["p_near"] == pytest.approx(1.0, abs=1e-3) and far["p_near"] == pytest.approx(0.0, abs=1e-3)
    assert near["prior"] == pytest.approx(0.5) and near["p_near_16"] == pytest.approx(1.0)
    edges = distance_edges(GRID) - GRID.observer_distance_pc
    assert edges[0] < near["los_50"] < edges[1] and far["los_50"] == pytest.approx(0.5 * edges[-1], rel=0.02)
    assert (near["literature_los"], math.isnan(far["literature_los"])) == (-50.0, True)
    assert 0.0 < far["light"] < near["light"] < 0.5
    assert math.isnan(outside["p_near"]) and outside["light"] == 0.0


def test_the_interval_of_a_cloud_holds_the_differences_between_networks(lv, found):
    other = found.shares[:, ::-1]
    both = NearFar(np.concatenate([found.shares, other]), found.prior, found.edges_pc, found.centre_pc)
    row = cloud_table([Cloud("x", 0.7, v_km_s=60.0)], both, lv)[0]
    assert row["p_near"] == pytest.approx(0.5, abs=1e-3) and (row["p_near_16"], row["p_near_84"]) == (0.0, 1.0)


def test_tables_are_read_back_with_units_and_compile_as_latex(lv, found, tmp_path):
    table = cloud_table([Cloud("G0.143-0.083 (Straw_1 & 2)", 0.143, v_km_s=57.0)], found, lv)
    write_table(table, tmp_path / "map.fits", "64% of P(near)")
    ecsv, tex = table_paths(tmp_path / "map.fits")
    again = Table.read(ecsv)
    assert str(again["los_50"].unit) == "pc" and again["p_near"][0] == pytest.approx(table["p_near"][0])
    text = tex.read_text()
    assert r"\begin{table}" in text and r"(Straw\_1 \& 2)" in text and r"\caption{64\% of P(near)}" in text


def test_extensions_hold_the_answers_where_something_was_observed(lv, found):
    lv.coverage[:4] = 0.0
    p_near, prior, distance = near_far_hdus(found, lv)
    image = from_fits_axes(p_near.data)
    assert np.isnan(image[:4]).all() and (image[4:, V > 0] == 1.0).all() and p_near.name == "P_NEAR"
    assert np.nanmax(np.abs(from_fits_axes(prior.data)[4:] - 0.5)) < 1e-6
    assert distance.data.shape == (3, 32, 32) and (np.diff(distance.data[:, :, :20], axis=0) > 0).all()
    assert distance.header["BUNIT"] == "pc" and distance.header["QUANT2"] == 0.5
    assert "100 % of the light" not in found.sentence(lv.image) and "tested" in found.sentence(lv.image)


# --- iris revert ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """run-0 and run-1 with distance networks, plain without, and cube.fits."""
    folder = tmp_path_factory.mktemp("near_far")
    grid = runs.GRID
    splits = {"train": range(12), "validation": range(100, 104)}
    shards = write_pairs(folder / "shards", splits, grid=grid, quantity="temperature", distances=True)
    stage = DistancesConfig(train=True, epochs=1, batch_size=4)
    plain = TrainConfig(epochs=1, batch_size=8, batches_per_update=1, network="columns", data=(str(shards),))
    train_run(plain, folder / "plain", quiet=True)
    for seed in (0, 1):
        train_run(replace(plain, distances=stage, seed=seed), folder / f"run-{seed}", quiet=True)
    sky.cube(folder / "cube.fits", cards={"BMAJ": 0.01})
    return folder


def test_revert_writes_p_near_its_prior_distances_and_clouds(iris, two_runs, tmp_path):
    both, out = (two_runs / "run-0", two_runs / "run-1"), tmp_path / "map.fits"
    ran = iris("revert", *both, two_runs / "cube.fits", "-o", out, "--near-far", tmp_path / "nf.png", "--json", "-q")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    names = "map.fits", "nf.png", "map.clouds.ecsv", "map.clouds.tex"
    assert made["outputs"] == [str(tmp_path / name) for name in names]
    assert "the log score of P(near) is" in made["near_far"] and "first of 2 networks" in made["near_far"]
    assert len(made["clouds"]) == 47 and made["clouds"][0]["p_near"] is None  # outside the cube
    each = [revert([run], [two_runs / "cube.fits"]).near_far for run in both]
    with fits.open(out) as file:
        file.verify("exception")
        assert [hdu.name for hdu in file][-3:] == ["P_NEAR", "P_PRIOR", "DISTANCE"]
        p_near, covered = from_fits_axes(file["P_NEAR"].data), from_fits_axes(file["COVERAGE"].data) >= LEAST_COVERAGE
        assert "P(near)" in file[0].header["IRISMAP"]
    pooled = np.mean([one.p_near for one in each if one], axis=0)
    np.testing.assert_allclose(p_near[covered], pooled[covered], atol=1e-6)
    assert np.isnan(p_near[~covered]).all() and covered.any() and np.abs(each[0].p_near - each[1].p_near).max() > 1e-3
    again = iris("revert", *both, two_runs / "cube.fits", "-o", tmp_path / "map2.fits", "--clouds", "auto", "-q")
    assert again.code == 0 and list(Table.read(tmp_path / "map2.clouds.ecsv")["name"]) == ["structure 1"]


def test_without_a_distance_network_there_is_no_p_near(iris, two_runs, tmp_path):
    made = revert([two_runs / "run-0", two_runs / "plain"], [two_runs / "cube.fits"], out=tmp_path / "map.fits")
    assert made.near_far is None and [path.name for path in tmp_path.iterdir()] == ["map.fits"]
    figure = "--near-far", tmp_path / "a.png"
    ran = iris("revert", two_runs / "plain", two_runs / "cube.fits", "-o", tmp_path / "a.fits", *figure)
    assert ran.code == 2 and "has no distance network" in ran.err and not (tmp_path / "a.fits").exists()


def test_a_bad_catalogue_leaves_nothing_behind(iris, two_runs, tmp_path):
    asked = ("revert", two_runs / "run-0", two_runs / "cube.fits", "-o", tmp_path / "map.fits")
    ran = iris(*asked, "--clouds", "none.csv")
    assert ran.code == 1 and "none.csv does not exist" in ran.err and not list(tmp_path.iterdir())
    (tmp_path / "map.clouds.tex").write_text("mine")
    ran = iris(*asked)
    assert ran.code == 2 and "map.clouds.tex" in ran.err and (tmp_path / "map.clouds.tex").read_text() == "mine"
    assert iris(*asked, "--clouds", "none", "-q").code == 0 and len(list(tmp_path.iterdir())) == 2
