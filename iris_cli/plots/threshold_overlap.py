"""Overlap of the dense parts of true and predicted maps, against the density threshold."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from iris_cli.plots.curves import Lines, draw_curves, legend
from iris_cli.plots.style import STYLES, Style
from iris_cli.units import INNER, SI, convert


def draw_threshold_overlap(overlap: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Intersection over union of the pixels above a density threshold, true and predicted."""
    figure = style.figure(aspect=0.7)
    ax = figure.subplots()
    draw_curves(ax, overlap, style, "o")
    ax.set(ylabel="intersection / union", xscale="log", ylim=(0.0, 1.0))
    ax.set_xlabel(r"H$_2$ density threshold [M$_\odot$ pc$^{-3}$]")
    kg_m3 = convert("density", INNER, SI)
    above = ax.secondary_xaxis("top", functions=(partial(np.multiply, kg_m3), partial(np.multiply, 1.0 / kg_m3)))
    above.set_xlabel(r"[kg m$^{-3}$]")
    ax.tick_params(which="both", top=False)
    legend(ax)
    return figure
