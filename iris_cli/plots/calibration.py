"""Calibration of samples: coverage, TARP, error against spread, rank histograms, reliability, and a map of coverage."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import DISTANCE, LONGITUDE, VELOCITY_COLOURS, colour_bar, draw_image
from iris_cli.plots.curves import Lines, draw_curves, mark_diagonal, mark_perfect
from iris_cli.plots.style import STYLES, Style
from iris_cli.standard.top_down_plane import cropped_distance

#: Smaller spreads are those of rounding.
LEAST_SPREAD = 1e-3


def draw_calibration(coverage: Lines, tarp: Lines, error: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Coverage of central intervals, the TARP curve, and the error of the mean in bins of the samples' spread."""
    figure = style.figure(3, aspect=0.9)
    first, second, third = figure.subplots(1, 3)
    draw_curves(first, coverage, style)
    first.set(xlabel="probability of the central interval", ylabel="truths inside")
    draw_curves(second, tarp, style)
    second.set(xlabel="credibility (TARP)", ylabel="truths inside")
    for ax in (first, second):
        mark_diagonal(ax)
    draw_curves(third, error, style, "o")
    known = [v[np.isfinite(v) & (v > LEAST_SPREAD)] for line in error.values() for v in (line.x, line.mean)]
    known = [v for v in known if v.size]
    if known:
        limits = 0.7 * min(v.min() for v in known), 1.4 * max(v.max() for v in known)
        mark_diagonal(third, limits)
        third.set(xscale="log", yscale="log")
    third.set(xlabel="samples' spread (asinh maps)", ylabel="rms error of their mean")
    for ax in (first, second, third):
        if ax.lines:
            ax.legend(fontsize="x-small", frameon=True, framealpha=0.7, edgecolor="none")
    return figure


def draw_rank_histograms(ranks: Mapping[str, Lines], style: Style = STYLES["screen"]) -> Figure:
    """A panel for each quantity: the density of the truth's rank among the samples, 1 everywhere if calibrated."""
    figure = style.figure(3, -(-len(ranks) // 3), aspect=0.6)
    panels = figure.subplots(-(-len(ranks) // 3), 3, squeeze=False).ravel()
    for ax, (what, lines) in zip(panels, ranks.items(), strict=False):
        draw_curves(ax, lines, style, "o")
        mark_perfect(ax)
        ax.set(title=what, xlim=(0, 1), ylim=(0, None))
        ax.set(xlabel="share of samples below the truth", ylabel="density")
    for ax in panels[len(ranks) :]:
        ax.remove()
    panels[0].legend()
    return figure


def draw_reliability(reliability: Mapping[str, Lines], style: Style = STYLES["screen"]) -> Figure:
    """A panel for each kind of event: how often it happens when samples give it a probability."""
    figure = style.figure(max(len(reliability), 2), aspect=0.8)
    for ax, (what, lines) in zip(
        figure.subplots(1, len(reliability), squeeze=False)[0], reliability.items(), strict=True
    ):
        draw_curves(ax, lines, style, "o")
        mark_diagonal(ax)
        ax.set(title=what, xlabel="probability of 'near'", ylabel="share that is near")
        ax.legend()
    return figure


def draw_coverage_maps(
    maps: Mapping[str, NDArray], level: float, grid: Grid, style: Style = STYLES["screen"]
) -> Figure:
    """(blocks, blocks) of each predictor: share of truths inside the interval of a probability, by place."""
    figure = style.figure(max(len(maps), 2), aspect=0.8)
    panels = list(figure.subplots(1, len(maps), squeeze=False)[0])
    for ax, (name, image) in zip(panels, maps.items(), strict=True):
        away, across = (
            _coarse(axis, n) for axis, n in zip((cropped_distance(grid), grid.longitude), image.shape, strict=True)
        )
        drawn = draw_image(ax, image, across, away, Normalize(2.0 * level - 1.0, 1.0), VELOCITY_COLOURS)
        ax.set(title=name, xlabel=LONGITUDE, ylabel=DISTANCE, facecolor="0.85")
    colour_bar(drawn, panels, f"truths inside the central {100 * level:.0f} %")
    return figure


def _coarse(axis: Axis, steps: int) -> Axis:
    """The same range in so many steps."""
    low, high = axis.edges()[[0, -1]]
    half = 0.5 * (high - low) / steps
    return Axis(axis.name, axis.unit, low + half, high - half, steps)
