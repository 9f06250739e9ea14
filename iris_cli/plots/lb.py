"""A map of the sky: integrated intensity, gas column, or an image of the continuum."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import PLAIN, Appearance, colour_bar, draw_lb, stretch
from iris_cli.plots.orbits import over_lb


def draw_lb_figure(image: NDArray, lon: Axis, lat: Axis, unit_label: str, look: Appearance = PLAIN) -> Figure:
    """`image` (B, L), grey where NaN; `unit_label` is the label of the colour bar."""
    shape = (lat.edges()[-1] - lat.edges()[0]) / (lon.edges()[-1] - lon.edges()[0])
    figure = look.style.figure(aspect=float(np.clip(shape, 0.3, 1.2)), layout="compressed")
    ax = figure.subplots()
    drawn = draw_lb(ax, image, lon, lat, look.norm or stretch(image), look.colours)
    ax.set_facecolor("0.8")
    colour_bar(drawn, ax, unit_label)
    over_lb(ax, look.orbits)
    ax.set_title(look.title)
    return figure
