"""The figure of a reverted map: position of the Sun, direction of longitude, panels and labels."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from iris_cli.config.grid import FOREGROUND_PRESETS, GRID_PRESETS, Grid
from iris_cli.plots.axes_of_sky import Appearance
from iris_cli.plots.images import draw_top_down_figure
from iris_cli.plots.reverted_map import draw_from_above, draw_map
from iris_cli.plots.style import STYLES
from iris_cli.standard.top_down_plane import SGR_A_LON_DEG, corners_pc

GRID = GRID_PRESETS["tiny"]
LV = np.full((64, 64), 0.5)


def texts(figure):
    legends = [t.get_text() for ax in figure.axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    labels = [text for ax in figure.axes for text in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title())]
    return " | ".join([*legends, *labels, *(t.get_text() for ax in figure.axes for t in ax.texts)])


def value_at(ax, left_pc, far_pc):
    """The value of the wedge at a position."""
    mesh = ax.collections[0]
    corners = mesh.get_coordinates()
    centres = 0.25 * (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:])
    k = np.argmin(np.hypot(centres[..., 0] - left_pc, centres[..., 1] - far_pc))
    return float(np.asarray(mesh.get_array()).ravel()[k])


def test_the_sun_is_below_and_longitude_increases_to_the_left():
    density = np.zeros((64, 64))
    density[3, 60] = 7.0  # near, at large longitude
    ax = Figure().subplots()
    draw_from_above(ax, density, GRID)
    assert ax.get_xlim()[0] > ax.get_xlim()[1] and ax.get_ylim()[0] < ax.get_ylim()[1]
    r, lon = GRID.distance.centres()[3], np.deg2rad(GRID.longitude.centres()[60])
    sgr_a = 8277.0 * np.tan(np.deg2rad(SGR_A_LON_DEG))
    left, far = r * np.sin(lon) - sgr_a, r * np.cos(lon) - 8277.0
    assert left > 150 and far < -190
    assert value_at(ax, left, far) == 7.0 and value_at(ax, -left, far) == 0.0 and value_at(ax, left, -far) == 0.0
    assert any("to the Sun, 8.28 kpc" in t.get_text() for t in ax.texts)
    arrow = next(text for text in ax.texts if text.get_gid() == "to the Sun")
    assert arrow.xy[1] < arrow.get_position()[1]
    centre = next(line for line in ax.lines if line.get_gid() == "Sgr A*")
    assert (centre.get_xdata()[0], centre.get_ydata()[0]) == (0, 0)
    assert "Sgr A*" in ax.get_xlabel() and "[pc]" in ax.get_xlabel() and "[pc]" in ax.get_ylabel()
    assert ax.get_aspect() == 1.0


def test_sgr_a_is_eight_parsec_to_the_right_of_l_zero():
    at_zero, _, _ = corners_pc(GRID, (0.0, 0.0))
    centred, _, name = corners_pc(GRID, (SGR_A_LON_DEG, -0.046))
    assert 0.5 * (at_zero[32, 0] + at_zero[32, -1]) == pytest.approx(8.06, abs=0.05)
    assert 0.5 * (centred[32, 0] + centred[32, -1]) == pytest.approx(0.0, abs=1e-6) and name == "Sgr A*"


def test_only_an_ensemble_has_a_panel_of_the_spread_and_unobserved_parts_are_named():
    density = np.random.default_rng(0).random((64, 64))
    one = draw_map(density, None, LV, np.ones_like(LV), GRID, "kg/m3")
    several = draw_map(density, 0.3 * density, LV, np.ones_like(LV), GRID, "Msun/pc3", caption="a caption")
    assert "spread" not in texts(one) and "spread of the networks" in texts(several)
    assert "kg m" in texts(one) and "odot" in texts(several) and "[K]" in texts(one)
    assert several.get_label().startswith("a caption; contours: where the gas")
    assert "Walker et al. 2025" in texts(one) and "not observed" not in texts(one)
    half = np.tri(64)  # unobserved parts are hatched
    assert "not observed" in texts(draw_map(density, None, LV, half, GRID, "kg/m3"))


def test_longitudes_that_were_not_observed_are_hatched_and_hold_no_gas():
    coverage = np.ones((64, 64))
    coverage[:10], coverage[30:34] = 0.0, 0.01
    figure = draw_map(np.ones((64, 64)), np.ones((64, 64)), LV, coverage, GRID, "kg/m3")
    for ax in figure.axes[:2]:
        drawn = np.ma.filled(ax.collections[0].get_array(), np.nan).reshape(64, 64)
        np.testing.assert_array_equal(np.isnan(drawn).all(axis=0), coverage[:, 0] < 0.05)
        assert [patch.get_gid() for patch in ax.patches].count("not observed") == 2


def test_away_from_the_centre_neither_sgr_a_nor_orbits_are_drawn_and_a_narrow_field_is_stretched():
    narrow = Grid(lon_min_deg=-0.03, lon_max_deg=0.03).scaled(64, 64, 16, 64)
    figure = draw_map(np.ones((64, 64)), None, LV, np.ones_like(LV), narrow, "kg/m3", (55.4, 0.3))
    assert "Sgr" not in texts(figure) and "Walker" not in texts(figure) and "l = 55.4°" in texts(figure)
    assert figure.axes[0].get_aspect() == "auto" and "kpc" not in texts(figure)


def test_an_empty_map_can_be_drawn():
    draw_map(np.zeros((64, 64)), np.zeros((64, 64)), 0 * LV, 0 * LV, GRID, "kg/m3").canvas.draw()


@pytest.mark.parametrize(
    ("name", "centre_deg"),
    [("mnras", (23.5, 0.0)), ("aanda", (0.0, 0.0)), ("apj", (23.5, 0.0)), ("screen", None), ("talk", (0.0, 0.0))],
)
def test_all_text_of_a_tall_map_is_inside_its_figure(name, centre_deg):
    caption = "H2 density seen from Galactic north, reverted from cube.fits by 3 networks (run); " * 3
    style = STYLES[name]
    with style.applied():
        look = Appearance(title="map.fits", style=style)
        figure = draw_top_down_figure(np.ones((64, 64)), FOREGROUND_PRESETS["tiny"], look, centre_deg, caption)
        figure.canvas.draw()
        ax, bar = figure.axes
        words = [ax.xaxis.label, ax.yaxis.label, ax.title, bar.yaxis.label, *ax.texts]
        boxes = [text.get_window_extent() for text in words if text.get_text()]
    width, height = figure.bbox.width, figure.bbox.height
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in boxes)
    inner, panel = ax.texts[-1].get_window_extent(), ax.get_window_extent()
    assert panel.x0 <= inner.x0 and inner.x1 <= panel.x1 and panel.y0 <= inner.y0 and inner.y1 <= panel.y1
