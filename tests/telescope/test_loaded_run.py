"""Trained networks from Python: the same numbers as those of the commands, and the notebook of the docs."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

import iris_cli
from iris_cli import load_run, make_observer, read_cube
from iris_cli.config.cube import CubeConfig
from iris_cli.config.train import Noise
from iris_cli.errors import DataError
from iris_cli.plots import plot_lv, plot_map, plot_p_near
from iris_cli.telescope.revert import revert
from iris_cli.text import to_json

matplotlib.use("Agg")
ROOT = Path(__file__).parents[2]
COVERED = CubeConfig(min_coverage=0.01)


def test_maps_are_those_of_iris_revert(temperature_runs):
    ensemble = load_run(temperature_runs / "ensemble")
    lv = read_cube(temperature_runs / "cube.fits", ensemble, config=COVERED)
    made = revert([temperature_runs / "ensemble"], [temperature_runs / "cube.fits"], config=COVERED)
    assert np.array_equal(ensemble.predict(lv), made.density)
    assert ensemble.maps(lv).shape == (2, 32, 32)
    np.testing.assert_array_equal(
        read_cube([temperature_runs / "cube.fits"], ensemble.grid, config=COVERED).image, lv.image
    )
    several = np.stack([lv.channels, 2.0 * lv.channels, 0.0 * lv.channels])
    maps = ensemble.predict(several)
    assert maps.shape == (3, 32, 32)
    for image, map_ in zip(several, maps, strict=True):
        np.testing.assert_allclose(ensemble.predict(image[0]), map_, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(ensemble.predict(torch.from_numpy(image)), ensemble.predict(image[0]))
    assert ensemble.quantity == "temperature" and ensemble.lines["13CO 2-1"] == pytest.approx(220.4, abs=0.01)
    masses = (made.density.astype(float) * ensemble.pixel_volume_pc3)[:, lv.observed_longitudes]
    assert masses.sum() == pytest.approx(made.record.summary.mass_Msun.mean, rel=1e-3)


def test_a_test_is_that_of_iris_test(temperature_runs, iris, tmp_path):
    shards, copy = temperature_runs / "shards", shutil.copytree(temperature_runs / "run", tmp_path / "run")
    ran = iris("test", copy, shards, "--noise-sigma-k", "0.5", "--split", "validation", "--json", "-q")
    run = load_run(copy)
    report = run.test(shards, split="validation", noise=Noise(sigma_K=0.5))
    assert json.loads(to_json(report.headline())) == json.loads(ran.out)
    with pytest.raises(DataError):
        run.test(shards, split="train")


def test_what_a_run_cannot_do_is_said(temperature_runs):
    run = load_run(temperature_runs / "run")
    for image, said in (
        (np.zeros((16, 32)), "(16, 32); the network takes 1 x 32 x 32"),
        (np.zeros((1, 1, 1, 32, 32)), "the network takes"),
        (np.full((32, 32), np.nan), "not finite"),
    ):
        with pytest.raises(DataError) as refused:
            run.predict(image)
        assert said in refused.value.message
    for method, said in ((run.samples, "no sampler"), (run.distances, "no distance network")):
        with pytest.raises(DataError, match=said):
            method(np.zeros((32, 32)))
    with pytest.raises(DataError):
        load_run(temperature_runs / "absent")


def test_the_package_is_light_until_a_function_is_used():
    code = (
        "import sys, iris_cli, iris_cli.plots; print([m for m in ('numpy', 'torch', 'matplotlib') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert iris_cli.make_observer is make_observer
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        _ = iris_cli.load_runs


def test_panels_have_the_axes_of_the_sky(temperature_runs):
    grid, rising = load_run(temperature_runs / "run").grid, np.linspace(0.0, 1.0, 32)
    lv, from_north, near = (plot(np.outer(rising, rising), grid) for plot in (plot_lv, plot_map, plot_p_near))
    for ax in (lv, near):
        assert ax.get_xlim()[0] > ax.get_xlim()[1] and "longitude" in ax.get_xlabel() and "km/s" in ax.get_ylabel()
        assert np.array_equal(ax.images[0].get_array()[-1], rising)  # the highest velocity is the last row
    assert from_north.get_xlim()[0] > 0.0 > from_north.get_xlim()[1]
    assert plot_lv(rising[:, None] * rising, grid, lv) is lv
    labels = [ax.get_ylabel() for each in (lv, from_north, near) for ax in each.figure.axes[1:]]
    assert "K]" in labels[0] and "pc" in labels[-2] and "P(near)" in labels[-1]


def test_the_notebook_runs_from_mock_to_map(tmp_path, monkeypatch, capsys):
    """With fewer galaxies and epochs."""
    text = (ROOT / "docs/from_mock_to_map.ipynb").read_text()
    assert text == runpy.run_path(str(ROOT / "docs/write_notebook.py"))["render"](), "python docs/write_notebook.py"
    notebook = json.loads(text)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert 8 <= len(cells) <= 12
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    space: dict = {"__name__": "__main__"}
    for cell in cells:
        exec(re.sub(r"epochs=\d+", "epochs=1", cell.replace("120", "24")), space)
    assert space["predicted"].shape == (32, 32) and space["samples"].shape == (32, 32, 32)
    assert space["predicted"].max() > 0.0 and space["lv"].image.max() > 0.1
    assert re.search(r"nearer than Sgr A\*: \d+% to \d+% of the mass", capsys.readouterr().out)
