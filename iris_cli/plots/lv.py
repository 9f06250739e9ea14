"""A longitude-velocity image, with orbits of published models."""

from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import PLAIN, Appearance, colour_bar, draw_lv
from iris_cli.plots.orbits import over_lv


def draw_lv_figure(image: NDArray, lon: Axis, v: Axis, unit_label: str, look: Appearance = PLAIN) -> Figure:
    """`image` (L, V); `unit_label` is the label of the colour bar."""
    figure = look.style.figure()
    ax = figure.subplots()
    drawn = draw_lv(ax, image, (lon, v), look.norm, look.colours)
    colour_bar(drawn, ax, unit_label)
    over_lv(ax, look.orbits)
    ax.set_title(look.title)
    return figure
