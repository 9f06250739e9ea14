"""Overlap of the dense parts of true and predicted maps, against the density threshold."""

from __future__ import annotations

from matplotlib.figure import Figure

from iris_cli.plots.curves import Lines, draw_curves
from iris_cli.plots.style import STYLES, Style


def draw_threshold_overlap(overlap: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Intersection over union of the pixels above a density threshold, true and predicted."""
    figure = style.figure(aspect=0.7)
    ax = figure.subplots()
    draw_curves(ax, overlap, style, "o")
    ax.set(
        xlabel=r"H$_2$ density threshold [kg m$^{-3}$]", ylabel="intersection / union", xscale="log", ylim=(0.0, 1.0)
    )
    ax.legend()
    return figure
