"""Surveys on the command line: the table, a mock on a survey's grid, shards that are masked to its coverage."""

import json
import tomllib

import numpy as np

from iris_cli.config.grid import Coverage
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.survey import survey, surveys
from iris_cli.config.toml import from_dict
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.standard.dataset import StandardDataset


def test_surveys_are_listed_and_shown(iris):
    out = iris("surveys").out
    assert all(name in out for name in surveys()) and max(map(len, out.splitlines())) <= 80
    assert "Jones et al. 2012" in iris("surveys", "mopra-hnco").out
    assert json.loads(iris("surveys", "--json").out)["grs-13co10"]["beam_arcsec"] == 46.0
    assert "did you mean 'mopra-hnco'" in iris("surveys", "mopra-hnc0").err
    shown = from_dict(PreobserveConfig, tomllib.loads(iris("config", "show", "mopra-hnco").out))
    assert shown == survey("mopra-hnco").preobserve_config()


def test_a_mock_set_is_observed_as_a_survey(iris, tmp_path):
    """On its own grid images are masked; the same pairs come from shards and from data observed on the fly."""
    (tmp_path / "mock.toml").write_text(
        "clouds = [3, 3]\n[grid]\nr_steps = 16\nr_crop_max = 16\nlon_steps = 16\nlat_steps = 8\nv_steps = 16\n"
    )
    standard, shards = tmp_path / "standard", tmp_path / "shards"
    assert iris("mock", standard, "-n", 5, "--config", tmp_path / "mock.toml").code == 0
    assert StandardDataset.open(standard).grid.tensor_shape == (6, 16, 16, 8)
    assert iris("preobserve", standard, shards, "--survey", "mopra-hnco-fitted").code == 0
    pairs = PreObservedDataset(shards)
    assert pairs.coverage == Coverage((-0.585, 1.095), (-0.247, 0.203), (-202.0, 202.0))
    images = np.array([pairs[k][0].numpy() for k in range(5)])
    assert not images[:, 0, :4].any() and (images[:, 0, 5:13].max(axis=(1, 2)) > 0).all()
    assert all("tracer_dex" in pairs.reader.info(k) for k in range(5))
    assert pairs.attributes["config"]["tracer"]["cloud_dex"] == 0.3

    from iris_cli.pairs.datasets import pairs_of
    from iris_cli.pairs.open_data import open_data

    fly = pairs_of(*open_data([str(standard)], "mopra-hnco-fitted"))
    assert fly.coverage == pairs.coverage and fly.lines == pairs.lines
    rows = {"observation": np.empty((1, 16, 16), np.float32), "density": np.empty((1, 16, 16), np.float32)}
    fly.read(0, rows)
    assert any(np.array_equal(rows["observation"], image) for image in images)


def test_a_molecule_without_rates_is_refused_before_anything_is_observed(iris, tmp_path):
    assert iris("mock", tmp_path / "standard", "-n", 2, "--preset", "tiny").code == 0
    (tmp_path / "hcn.toml").write_text('[[synthetic.lines]]\nmolecule = "hcn"\ntransition = "1-0"\n')
    for words in (
        ("preobserve", tmp_path / "standard", tmp_path / "shards", "--config", tmp_path / "hcn.toml"),
        ("config", "validate", tmp_path / "hcn.toml", "--for", "preobserve"),
    ):
        ran = iris(*words)
        assert ran.code != 0 and "no collision rates with H2" in ran.err and "populations 'lte'" in ran.err
    assert not (tmp_path / "shards").exists()


def test_a_grid_is_given_once(iris, tmp_path):
    (tmp_path / "mock.toml").write_text("[grid]\nr_steps = 16\nr_crop_max = 16\n")
    ran = iris("mock", tmp_path / "s", "--preset", "tiny", "--config", tmp_path / "mock.toml")
    assert ran.code == 2 and "both give a grid" in ran.err
    ran = iris("mock", tmp_path / "s", "--survey", "grs-13co10")
    assert ran.code == 2 and "not the Galactic Centre" in ran.err
    (tmp_path / "small.toml").write_text("[grid]\nlon_steps = 16\nr_steps = 16\nr_crop_max = 16\nv_steps = 16\n")
    ran = iris("mock", tmp_path / "s", "--survey", "mopra-hnco", "--config", tmp_path / "small.toml", "--dry-run")
    assert ran.code == 0 and "6 x 16 x 16 x 128" in ran.out
