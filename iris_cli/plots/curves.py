"""Curves in the figures of a report: means with their confidence intervals, for each of several sets of inputs.

Radial profiles, power spectra, and the overlap above a threshold; calibration and near or far have files of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.plots.style import DASHES, LINES, STYLES, Style, plain_ticks
from iris_cli.units import INNER, SI, convert


@dataclass(frozen=True)
class Line:
    """(points,) each; `low` … `high` is the bootstrap interval of the mean, NaN where there is none."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


Lines = Mapping[str, Line]


def draw_curves(ax: Axes, lines: Lines, style: Style, marker: str = "") -> None:
    """Draw each line with its band, in colours and dashes of its own."""
    for number, (name, line) in enumerate(lines.items()):
        colour, dashes = LINES[number % len(LINES)], DASHES[number % len(DASHES)]
        ax.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        look: dict[str, Any] = {"color": colour, "linestyle": dashes, "marker": marker}
        ax.plot(line.x, line.mean, label=name, linewidth=style.line_pt, markersize=3 * style.line_pt, **look)


def legend(ax: Axes) -> None:
    """Names the lines, if there are several."""
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend()


def mark_perfect(ax: Axes, y: float = 1.0) -> None:
    """A thin horizontal line where the curve of a perfect prediction is."""
    ax.axhline(y, color="0.5", linewidth=0.8, zorder=0)


def mark_diagonal(ax: Axes, limits: tuple[float, float] = (0.0, 1.0)) -> None:
    """A thin line where x and y are equal; the limits are those of both axes."""
    ax.plot(limits, limits, color="0.5", linewidth=0.8, zorder=0)
    ax.set(xlim=limits, ylim=limits)


def draw_radial_profiles(surface: Lines, enclosed: Lines, ratio: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Surface density, enclosed mass (true and predicted each), and the ratio of enclosed masses for each set."""
    figure = style.figure(3, aspect=0.9)
    first, second, third = figure.subplots(1, 3)
    draw_curves(first, surface, style)
    first.set(xlabel="distance from Sgr A* [pc]", ylabel=r"H$_2$ surface density [M$_\odot$ pc$^{-2}$]", yscale="log")
    draw_curves(second, enclosed, style)
    second.set(xlabel="radius [pc]", ylabel=r"H$_2$ mass within [M$_\odot$]", yscale="log")
    draw_curves(third, ratio, style)
    mark_perfect(third)
    third.set(xlabel="radius [pc]", ylabel="predicted / true mass within", ylim=(0.0, None))
    for ax in (first, second, third):
        ax.set_xlim(0.0, None)
        legend(ax)
    return figure


def draw_power_spectra(ratio: Lines, correlation: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Power ratio and cross-correlation against wavenumber in pc^-1, with wavelengths on the upper axis."""
    figure = style.figure(2, aspect=0.75)
    first, second = figure.subplots(1, 2)
    draw_curves(first, ratio, style)
    mark_perfect(first)
    first.set(
        xlabel=r"wavenumber $1/\lambda$ [pc$^{-1}$]", ylabel=r"$P_\mathrm{predicted} / P_\mathrm{true}$", yscale="log"
    )
    draw_curves(second, correlation, style)
    mark_perfect(second, 0.0)
    second.set(xlabel=r"wavenumber $1/\lambda$ [pc$^{-1}$]", ylabel="cross-correlation", ylim=(-0.3, 1.05))
    for ax in (first, second):
        ax.set_xscale("log")
        above = ax.secondary_xaxis("top", functions=(_inverse, _inverse))
        above.set_xlabel(r"wavelength $\lambda$ [pc]")
        for axis in (ax.xaxis, above.xaxis):
            plain_ticks(axis)
        ax.tick_params(which="both", top=False)
        legend(ax)
    return figure


def _inverse(k: NDArray) -> NDArray:
    return 1.0 / np.maximum(np.asarray(k, np.float64), 1e-30)


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
