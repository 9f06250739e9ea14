"""Calibration of an ensemble: coverage, ranks, and the error of the mean against the spread."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from iris_cli.plots.curves import Lines, draw_curves, mark_perfect
from iris_cli.plots.style import STYLES, Style


def draw_calibration(coverage: Lines, ranks: Lines, error: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Coverage of central intervals, rank histograms, and the error of the mean in bins of the ensemble's spread."""
    figure = style.figure(3, aspect=0.9)
    first, second, third = figure.subplots(1, 3)
    draw_curves(first, coverage, style, "o")
    first.plot([0, 1], [0, 1], color="0.5", linewidth=0.8, zorder=0)
    first.set(xlabel="nominal coverage of central intervals", ylabel="truths inside", xlim=(0, 1), ylim=(0, 1))
    draw_curves(second, ranks, style, "o")
    members = len(next(iter(ranks.values())).x) - 1
    mark_perfect(second, 1.0 / (members + 1))
    second.xaxis.set_major_locator(MaxNLocator(integer=True))
    second.tick_params(axis="x", which="minor", bottom=False, top=False)
    second.set(xlabel=f"members below the truth (of {members})", ylabel="share of pixels", ylim=(0.0, None))
    draw_curves(third, error, style, "o")
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
