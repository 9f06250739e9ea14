"""Observation, truth and prediction side by side, a row for each galaxy."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import COLOURS, colour_bar, draw_lv, draw_top_down, label, stretch
from iris_cli.plots.style import STYLES, Style

TITLES = ("observation", "true", "predicted", "members' spread")


def draw_pairs(
    observations: Sequence[NDArray],
    true: Sequence[NDArray],
    predicted: Sequence[NDArray],
    grid: Grid,
    quantity: str,
    names: Sequence[str],
    spread: Sequence[NDArray] = (),
    style: Style = STYLES["screen"],
    *,
    colours: str = COLOURS,
    stretched: str = "asinh",
) -> Figure:
    """Observations (L, V), densities (R', L) in inner units; empty sequences of predictions or spreads get no column.

    Truth, prediction and spread of a galaxy have the same colour scale.
    """
    rows, maps = len(observations), [column for column in (true, predicted, spread) if len(column)]
    figure = style.figure(1 + len(maps), rows, aspect=0.9)
    panels = figure.subplots(rows, 1 + len(maps), squeeze=False)
    for row, (observation, name) in enumerate(zip(observations, names, strict=True)):
        seen = draw_lv(panels[row, 0], observation, grid, stretch(observation, None, stretched), colours)
        colour_bar(seen, panels[row, 0], label(quantity))
        panels[row, 0].set_title(f"{TITLES[0]} of {name}" if name else TITLES[0])
        images = [column[row] for column in maps]
        norm = stretch(images[0], float(np.max(images[:2])), stretched)
        for panel, image, title in zip(panels[row, 1:], images, TITLES[1:], strict=False):
            drawn = draw_top_down(panel, image, grid, norm, colours)
            panel.set_title(title)
            if panel is not panels[row, 1]:
                panel.set_ylabel("")
                panel.tick_params(labelleft=False)
        colour_bar(drawn, list(panels[row, 1:]), label("density"))
    return figure
