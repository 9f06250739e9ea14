"""Figures: axis directions, labels, data ranges; not pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.plots.axes_of_sky import draw_lv, draw_top_down
from iris_cli.plots.pairs import draw_pairs
from iris_cli.plots.style import save

GRID = GRID_PRESETS["tiny"].scaled(8, 6, 4, 10)


def colour_at(drawn: object, x: float, y: float) -> float:
    """The value drawn at data coordinates."""
    left, right, bottom, top = drawn.get_extent()  # type: ignore[attr-defined]
    rows = drawn.get_array()  # type: ignore[attr-defined]
    column = int((x - left) / (right - left) * rows.shape[1])
    row = int((y - bottom) / (top - bottom) * rows.shape[0])
    return float(rows[row, column])


def test_longitude_increases_to_the_left_and_a_receding_cloud_is_above() -> None:
    image = np.zeros((6, 10))
    image[5, 9] = 1.0  # greatest longitude, fastest receding
    ax = Figure().subplots()
    drawn = draw_lv(ax, image, GRID)
    left, right = ax.get_xlim()
    assert left > right and ax.get_ylim()[0] < ax.get_ylim()[1]
    assert left == pytest.approx(1.5 + 0.5 * GRID.longitude.step)
    assert colour_at(drawn, 1.5, 200.0) == 1.0 and colour_at(drawn, -1.5, 200.0) == 0.0
    assert "longitude" in ax.get_xlabel() and "km/s" in ax.get_ylabel()


def test_the_observer_is_below_the_view_from_above() -> None:
    image = np.zeros((4, 6))
    image[0, 0] = 1.0  # nearest, least longitude
    ax = Figure().subplots()
    cropped = replace(GRID, r_crop_min=2, r_crop_max=6)
    drawn = draw_top_down(ax, image, cropped)
    nearest = float(GRID.distance.centres()[2])
    assert colour_at(drawn, -1.5, nearest) == 1.0
    assert ax.get_ylim()[0] == pytest.approx(nearest - 0.5 * GRID.distance.step)
    assert "pc" in ax.get_ylabel()


def test_truth_and_prediction_have_one_scale_and_units(tmp_path: Path) -> None:
    true, predicted = np.full((8, 6), 2.0), np.full((8, 6), 5.0)
    figure = draw_pairs([np.ones((6, 10))], [true], [predicted], GRID, "v_density", ["galaxy-7"])
    panels = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in panels] == ["observation of galaxy-7", "true", "predicted"]
    assert panels[1].images[0].norm.vmax == panels[2].images[0].norm.vmax == 5.0
    labels = [ax.get_ylabel() for ax in figure.axes if not ax.images]
    assert any("pc$^{-3}$" in label for label in labels) and any("(km/s)$^{-1}$" in label for label in labels)
    save(figure, tmp_path / "pairs.png")
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.png"]


def test_the_spread_of_an_ensemble_is_a_fourth_panel_and_a_pair_without_prediction_has_two() -> None:
    one = [np.full((8, 6), 2.0)]
    with_spread = draw_pairs([np.ones((6, 10))], one, one, GRID, "v_density", ["g"], one)
    assert [ax.get_title() for ax in with_spread.axes if ax.images][3] == "members' spread"
    alone = draw_pairs([np.ones((6, 10))], one, [], GRID, "v_density", ["g"])
    assert [ax.get_title() for ax in alone.axes if ax.images] == ["observation of g", "true"]


def test_an_empty_image_can_be_drawn() -> None:
    draw_lv(Figure().subplots(), np.zeros((6, 10)), GRID)
