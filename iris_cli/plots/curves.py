"""The curves of a report: means with their confidence intervals, for each of several sets of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from iris_cli.plots.style import DASHES, LINES, STYLES, Style, plain_ticks


@dataclass(frozen=True)
class Line:
    """(points,) each; `low` … `high` is the bootstrap interval of the mean, NaN where there is none."""

    x: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


Lines = Mapping[str, Line]


def _draw(ax: Axes, lines: Lines, style: Style, marker: str = "") -> None:
    for number, (name, line) in enumerate(lines.items()):
        colour, dashes = LINES[number % len(LINES)], DASHES[number % len(DASHES)]
        ax.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        look: dict[str, Any] = {"color": colour, "linestyle": dashes, "marker": marker}
        ax.plot(line.x, line.mean, label=name, linewidth=style.line_pt, markersize=3 * style.line_pt, **look)


def _perfect(ax: Axes, y: float = 1.0) -> None:
    ax.axhline(y, color="0.5", linewidth=0.8, zorder=0)


def draw_profiles(surface: Lines, enclosed: Lines, ratio: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Surface density, enclosed mass (true and predicted each), and the ratio of enclosed masses for each set."""
    figure = style.figure(3, aspect=0.9)
    first, second, third = figure.subplots(1, 3)
    _draw(first, surface, style)
    first.set(xlabel="distance from Sgr A* [pc]", ylabel=r"H$_2$ surface density [M$_\odot$ pc$^{-2}$]", yscale="log")
    _draw(second, enclosed, style)
    second.set(xlabel="radius [pc]", ylabel=r"H$_2$ mass within [M$_\odot$]", yscale="log")
    _draw(third, ratio, style)
    _perfect(third)
    third.set(xlabel="radius [pc]", ylabel="predicted / true mass within", ylim=(0.0, None))
    for ax in (first, second, third):
        ax.set_xlim(0.0, None)
        ax.legend()
    return figure


def draw_power_spectra(ratio: Lines, correlation: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Power ratio and cross-correlation against wavenumber in pc^-1, with wavelengths on the upper axis."""
    figure = style.figure(2, aspect=0.75)
    first, second = figure.subplots(1, 2)
    _draw(first, ratio, style)
    _perfect(first)
    first.set(
        xlabel=r"wavenumber $1/\lambda$ [pc$^{-1}$]", ylabel=r"$P_\mathrm{predicted} / P_\mathrm{true}$", yscale="log"
    )
    _draw(second, correlation, style)
    _perfect(second, 0.0)
    second.set(xlabel=r"wavenumber $1/\lambda$ [pc$^{-1}$]", ylabel="cross-correlation", ylim=(-0.3, 1.05))
    for ax in (first, second):
        ax.set_xscale("log")
        above = ax.secondary_xaxis("top", functions=(_inverse, _inverse))
        above.set_xlabel(r"wavelength $\lambda$ [pc]")
        for axis in (ax.xaxis, above.xaxis):
            plain_ticks(axis)
        ax.tick_params(which="both", top=False)
        ax.legend()
    return figure


def _inverse(k: NDArray) -> NDArray:
    return 1.0 / np.maximum(np.asarray(k, np.float64), 1e-30)


def draw_overlap(overlap: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Intersection over union of the pixels above a density threshold, true and predicted."""
    figure = style.figure(aspect=0.7)
    ax = figure.subplots()
    _draw(ax, overlap, style, "o")
    ax.set(
        xlabel=r"H$_2$ density threshold [kg m$^{-3}$]", ylabel="intersection / union", xscale="log", ylim=(0.0, 1.0)
    )
    ax.legend()
    return figure


def draw_calibration(coverage: Lines, ranks: Lines, error: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Coverage of central intervals, rank histograms, and the error of the mean in bins of the ensemble's spread."""
    figure = style.figure(3, aspect=0.9)
    first, second, third = figure.subplots(1, 3)
    _draw(first, coverage, style, "o")
    first.plot([0, 1], [0, 1], color="0.5", linewidth=0.8, zorder=0)
    first.set(xlabel="nominal coverage of central intervals", ylabel="truths inside", xlim=(0, 1), ylim=(0, 1))
    _draw(second, ranks, style, "o")
    members = len(next(iter(ranks.values())).x) - 1
    _perfect(second, 1.0 / (members + 1))
    second.xaxis.set_major_locator(MaxNLocator(integer=True))
    second.tick_params(axis="x", which="minor", bottom=False, top=False)
    second.set(xlabel=f"members below the truth (of {members})", ylabel="share of pixels", ylim=(0.0, None))
    _draw(third, error, style, "o")
    known = [v[np.isfinite(v) & (v > 0)] for line in error.values() for v in (line.x, line.mean)]
    known = [v for v in known if v.size]
    if known:
        limits = 0.7 * min(v.min() for v in known), 1.4 * max(v.max() for v in known)
        third.plot(limits, limits, color="0.5", linewidth=0.8, zorder=0)
        third.set(xlim=limits, ylim=limits, xscale="log", yscale="log")
    third.set(xlabel="members' spread (asinh maps)", ylabel="rms error of their mean")
    for ax in (first, second, third):
        ax.legend()
    return figure
