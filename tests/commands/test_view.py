"""`iris view`: the page holds the data with their axes, and a browser shows them."""

import base64
import json
import re

import numpy as np
import pytest
from astropy.io import fits

from iris_cli.axes import Axis
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.plots.view import STEPS, Layer, Panel, View, figure, fitting, html
from iris_cli.telescope.density_map import save_map
from iris_cli.telescope.regrid import regrid
from tests.browser import after, needs_browser
from tests.telescope import sky
from tests.telescope.test_lv_image import DENSITY, GRID, record

LON, V = Axis("longitude", "deg", -1.0, 1.0, 3), Axis("velocity", "km / s", -100.0, 100.0, 5)
VALUES = np.arange(30.0).reshape(2, 3, 5)
PAIRS = View(
    "title <b>",
    [Panel(Layer("image", "K", VALUES, ("pair", "longitude", "velocity"), "lv"), "longitude", "velocity")],
    {"longitude": LON, "velocity": V},
    {"pair": ["one", "</script>"]},
)


def data_of(page):
    (text,) = re.findall(r"^const view = (.*);$", page, flags=re.M)
    return json.loads(text)


def values_of(layer):
    codes = np.frombuffer(base64.b64decode(layer["values"]), "<u2").reshape(layer["shape"]).astype(float)
    return np.where(codes > STEPS, np.nan, layer["low"] + codes / STEPS * (layer["high"] - layer["low"]))


def test_the_pairs_of_shards_are_in_the_page_with_their_axes(iris, tiny_shards, tmp_path):
    out = tmp_path / "page.html"
    ran = iris("view", tiny_shards, "--out", out, "--most", 3, "--split", "train")
    assert ran.code == 0 and ran.out.strip() == str(out) and "--most shows more" in ran.err
    page = out.read_text()
    assert not re.search(r"(src|href)=", page) and "http" not in page  # nothing outside the file
    data, pairs = data_of(page), PreObservedDataset(tiny_shards, "train")
    assert data["axes"]["pair"]["names"] == [pairs.key(k) for k in range(3)] and data["sliders"] == ["pair"]
    for layer, number in zip(data["layers"], (0, 1), strict=True):
        found, wanted = values_of(layer), np.stack([pairs[k][number][0].numpy() for k in range(3)])
        np.testing.assert_allclose(found, wanted, atol=wanted.max() / STEPS)
    lon, distance = data["axes"]["longitude"], data["axes"]["distance"]
    assert lon["first"] == pairs.grid.longitude.first < lon["last"] and lon["unit"] == "deg"
    assert distance["first"] < 8178.0 < distance["last"] and data["layers"][1]["dims"] == [
        "pair",
        "distance",
        "longitude",
    ]


def test_a_run_shows_its_predictions_beside_the_truth(iris, trained_run, tmp_path):
    assert iris("view", trained_run, "--out", tmp_path / "page.html", "-n", 2, "-q").code == 0
    data = data_of((tmp_path / "page.html").read_text())
    assert [panel["title"] for panel in data["panels"]] == ["observation", "true H2 density", "predicted, mean"]
    assert {layer["group"] for layer in data["layers"][1:]} == {"map"}  # one colour scale


def test_a_cube_has_channels_and_latitudes_and_a_map_its_densities(iris, tmp_path):
    sky.cube(tmp_path / "cube.fits")
    assert iris("view", tmp_path / "cube.fits", "--out", tmp_path / "cube.html", "-q").code == 0
    data = data_of((tmp_path / "cube.html").read_text())
    assert data["sliders"] == ["velocity", "latitude"] and len(data["layers"]) == 1
    with fits.open(tmp_path / "cube.fits") as file:
        assert np.nanmax(values_of(data["layers"][0])) == pytest.approx(np.nanmax(file[0].data), rel=1e-3)
    lv, three = regrid([tmp_path / "cube.fits"], GRID), np.stack([DENSITY] * 3)
    for unit in ("kg/m3", "Msun/pc3"):
        save_map(tmp_path / "map.fits", DENSITY, 0.5 * DENSITY, lv, record(lv, unit), samples=three)
        assert iris("view", tmp_path / "map.fits", "--out", tmp_path / "map.html", "--overwrite", "-q").code == 0
        data = data_of((tmp_path / "map.html").read_text())
        mean, spread, sample, observed = (values_of(layer) for layer in data["layers"])
        seen = np.isfinite(mean)
        np.testing.assert_allclose(mean[seen], DENSITY[seen], atol=2 * DENSITY.max() / STEPS)
        np.testing.assert_allclose(spread[seen], 0.5 * DENSITY[seen], atol=2 * DENSITY.max() / STEPS)
        assert sample.shape == (3, *DENSITY.shape) and data["axes"]["sample"]["steps"] == 3
        assert observed.shape == lv.image.shape


def test_text_from_outside_cannot_end_the_script():
    page = html(PAIRS)
    assert page.count("</script>") == 1 and "title &lt;b>" in page
    assert data_of(page)["axes"]["pair"]["names"] == ["one", "</script>"]


def test_averaging_keeps_the_mean_and_the_places():
    values = np.arange(24.0).reshape(2, 12)
    values[0, :2] = np.nan
    found, (rows, columns) = fitting(values, [V, Axis("longitude", "deg", 0.5, 11.5, 12)], 12)
    assert found.shape == (2, 6) and np.isnan(found[0, 0]) and found[0, 1] == 2.5 and found[1, 5] == 22.5
    assert rows == V and columns.centres() == pytest.approx([1.0, 3.0, 5.0, 7.0, 9.0, 11.0])


def test_a_window_has_a_slider_that_changes_its_image():
    drawn, (slider,) = figure(PAIRS)
    image = drawn.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), VALUES[0].T)
    slider.set_val(1)
    np.testing.assert_array_equal(image.get_array(), VALUES[1].T)
    assert drawn.axes[0].get_xlim() == (1.5, -1.5)  # longitude increases to the left


@pytest.mark.slow
@needs_browser
def test_keys_pointer_and_clicks_work_in_a_browser(tmp_path):
    (tmp_path / "page.html").write_text(html(PAIRS))
    script = """
        const canvas = document.querySelector('canvas'), box = canvas.getBoundingClientRect();
        const at = (u, v) => ({ clientX: box.left + 58 + u * (box.width - 128), bubbles: true,
                                clientY: box.top + 8 + v * (box.height - 52) });
        const value = () => document.getElementById('value').textContent, said = [];
        const point = (...place) => {
          canvas.dispatchEvent(new PointerEvent('pointermove', at(...place)));
          said.push(value());
        };
        point(0.1, 0.1);
        for (const key of ['ArrowRight', 'ArrowRight'])
          document.dispatchEvent(new KeyboardEvent('keydown', { key }));
        said.push(document.querySelector('output').textContent);
        point(0.9, 0.9);
        document.querySelector('input[type=range]').value = 0;
        document.querySelector('input[type=range]').dispatchEvent(new Event('input'));
        said.push(document.querySelector('output').textContent);
        return [said, document.documentElement.scrollWidth <= innerWidth];"""
    (said, fits_in), failed = json.loads(after(tmp_path / "page.html", script, width=500))
    assert failed == [] and fits_in
    # the upper left has the highest longitude and velocity, the lower right the lowest
    assert said[0] == "image: Galactic longitude 1 deg, LSR velocity 100 km/s: 14 K"
    assert said[1] == "pair 2/2 </script>" and said[3] == "pair 1/2 one"
    assert said[2] == "image: Galactic longitude -1 deg, LSR velocity -100 km/s: 15 K"
