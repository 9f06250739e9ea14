"""A longitude-velocity image, with orbits of published models."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import COLOURS, colour_bar, draw_lv, stretch
from iris_cli.plots.orbits import Track, over_lv
from iris_cli.plots.style import STYLES, Style


def draw_lv_figure(
    image: NDArray,
    lon: Axis,
    v: Axis,
    unit_label: str,
    *,
    title: str = "",
    norm: Normalize | None = None,
    orbits: Sequence[Track] = (),
    colours: str = COLOURS,
    style: Style = STYLES["screen"],
) -> Figure:
    """`image` (L, V); `unit_label` is the label of the colour bar."""
    figure = style.figure()
    ax = figure.subplots()
    drawn = draw_lv(ax, image, (lon, v), norm or stretch(image), colours)
    colour_bar(drawn, ax, unit_label)
    over_lv(ax, orbits)
    ax.set_title(title)
    return figure
