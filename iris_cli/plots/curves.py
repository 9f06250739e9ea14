"""Curves in the figures of a report: means with their confidence intervals, for each of several sets of inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from iris_cli.plots.style import DASHES, LINES, Style


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
