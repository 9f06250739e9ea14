"""One sample of a shard folder: each of its arrays as an image, on the axes of the sky if they are known."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.pairs.pair import DENSITY, OBSERVATION
from iris_cli.plots.axes_of_sky import COLOURS, colour_bar, draw_lv, draw_top_down, stretch
from iris_cli.plots.style import STYLES


def draw_sample(arrays: Mapping[str, NDArray], labels: Mapping[str, str], grid: Grid | None, title: str) -> Figure:
    """A panel for each array (…, rows, columns), with `labels` for the colour bars; without a grid, axes in pixels."""
    figure = STYLES["screen"].figure(len(arrays))
    panels = figure.subplots(1, len(arrays), squeeze=False)[0]
    for panel, (name, array) in zip(panels, arrays.items(), strict=True):
        image = plane(array)
        if grid is not None and name == OBSERVATION:
            drawn = draw_lv(panel, image, grid)
        elif grid is not None and name == DENSITY:
            drawn = draw_top_down(panel, image, grid)
        else:
            drawn = panel.imshow(image, cmap=COLOURS, norm=stretch(image), interpolation="nearest", aspect="auto")
        colour_bar(drawn, panel, labels[name])
    figure.suptitle(title)
    return figure


def plane(array: NDArray) -> NDArray:
    """(rows, columns): index 0 of all leading axes; a one-dimensional array becomes a single row."""
    return array.reshape(-1, *np.atleast_2d(array).shape[-2:])[0]


def as_seen(name: str, image: NDArray, grid: Grid | None) -> NDArray:
    """Rows from top to bottom in the orientation of the figure: longitude to the left, velocity, distance upwards."""
    if grid is None:
        return image
    return image.T[::-1, ::-1] if name == OBSERVATION else image[::-1, ::-1]
