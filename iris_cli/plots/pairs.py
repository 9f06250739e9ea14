"""Observation, truth and prediction side by side, a row for each galaxy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import COLOURS, colour_bar, draw_lv, draw_top_down, label, stretch
from iris_cli.plots.style import STYLES, Style

TITLES = ("observation", "true", "predicted", "members' spread")


def draw_pairs(
    observations: Sequence[NDArray], true: Sequence[NDArray], predicted: Sequence[NDArray], grid: Grid, quantity: str,
    names: Sequence[str], spread: Sequence[NDArray] = (), style: Style = STYLES["screen"], *,
    colours: str = COLOURS, stretched: str = "asinh",
) -> Figure:  # fmt: skip
    """Observations (L, V), densities (R', L) in inner units; an ensemble's `spread` is a fourth column.

    Truth, prediction and spread share one colour scale.
    """
    rows, columns = len(observations), 4 if spread else 3
    figure = style.figure(columns, rows, aspect=0.9)
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, (observation, truth, guess, name) in enumerate(zip(observations, true, predicted, names, strict=True)):
        norm = stretch(truth, float(np.max([truth.max(), guess.max()])), stretched)
        seen = draw_lv(panels[row, 0], observation, grid, stretch(observation, None, stretched), colours)
        colour_bar(seen, panels[row, 0], label(quantity))
        for panel, image in zip(panels[row, 1:], (truth, guess, *spread[row : row + 1]), strict=True):
            drawn = draw_top_down(panel, image, grid, norm, colours)
            if panel is not panels[row, 1]:
                panel.set_ylabel("")
                panel.tick_params(labelleft=False)
        colour_bar(drawn, list(panels[row, 1:]), label("density"))
        panels[row, 0].set_title(f"{TITLES[0]} of {name}" if name else TITLES[0])
        for panel, title in zip(panels[row, 1:], TITLES[1:], strict=False):
            panel.set_title(title)
    return figure
