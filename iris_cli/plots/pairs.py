"""Observation, truth and prediction side by side, a row for each galaxy."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import COLOURS, colour_bar, draw_lv, draw_top_down, label, stretch
from iris_cli.plots.style import STYLES, Style


def draw_pairs(
    observations: Sequence[NDArray],
    maps: Mapping[str, Sequence[NDArray]],
    grid: Grid,
    quantity: str,
    names: Sequence[str],
    style: Style = STYLES["screen"],
    *,
    colours: str = COLOURS,
    stretched: str = "asinh",
) -> Figure:
    """Observations (L, V), and a column of densities (R', L) in inner units for each title; an empty one is left out.

    The maps of a galaxy have the same colour scale, that of the first two.
    """
    rows, maps = len(observations), {title: column for title, column in maps.items() if len(column)}
    narrow = style.paper and len(maps) > 2  # panels are narrower than labels
    figure = style.figure(1 + len(maps), rows, aspect=1.3 if narrow else 0.9)
    panels = figure.subplots(rows, 1 + len(maps), squeeze=False)
    for row, (observation, name) in enumerate(zip(observations, names, strict=True)):
        seen = draw_lv(panels[row, 0], observation, grid, stretch(observation, None, stretched), colours)
        colour_bar(seen, panels[row, 0], label(quantity))
        panels[row, 0].set_title(name if style.paper else f"observation of {name}" if name else "observation")
        images = [column[row] for column in maps.values()]
        norm = stretch(images[0], float(np.max(images[:2])), stretched)
        for panel, image, title in zip(panels[row, 1:], images, maps, strict=True):
            drawn = draw_top_down(panel, image, grid, norm, colours)
            panel.set_title(title)
            if panel is not panels[row, 1]:
                panel.set_ylabel("")
                panel.tick_params(labelleft=False)
        for panel in panels[row, 1::2] if narrow else ():
            panel.set_xlabel("")
        colour_bar(drawn, list(panels[row, 1:]), label("density"))
    return figure
