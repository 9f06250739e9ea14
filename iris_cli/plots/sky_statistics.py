"""Statistics of an observed l-v image beside those of a set of images, and the image beside the most similar one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import colour_bar, draw_lv, stretch
from iris_cli.plots.style import LINES, STYLES, Style, write_below

#: Deviations are drawn up to this one.
FARTHEST = 8.0


@dataclass(frozen=True)
class Deviation:
    """A statistic: its name, the deviation of the sky and those (n,) of the set, in standard deviations.

    `values` are the numbers in words; an `unusual` one has another colour.
    """

    name: str
    values: str
    sky: float
    of_set: NDArray
    unusual: bool


def draw_sky_statistics(
    rows: Sequence[Deviation],
    images: tuple[NDArray, NDArray],
    axes: tuple[Axis, Axis],
    inside: float,
    caption: str = "",
    style: Style = STYLES["screen"],
) -> Figure:
    """A line for each of `rows`, the first one above; the l-v image of the sky and the most similar one of the set.

    `images` (L, V) in K are NaN where the survey did not observe, `axes` are those of longitude and velocity. The range
    up to the deviation `inside` is grey.
    """
    figure = style.figure(2, aspect=0.85)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.45, 1.0))
    _draw_deviations(figure.add_subplot(grid[:, 0]), rows, inside)
    panels = [figure.add_subplot(grid[row, 1]) for row in range(2)]
    norm = stretch(np.stack(images))
    for ax, image, title in zip(panels, images, ("the sky", "the most similar image of the set"), strict=True):
        drawn = draw_lv(ax, image, axes, norm)
        ax.set_title(title)
    panels[0].set_xlabel("")
    colour_bar(drawn, panels, "brightness temperature [K]")
    if caption:
        write_below(figure, caption, style)
    return figure


def _draw_deviations(ax: Axes, rows: Sequence[Deviation], inside: float) -> None:
    ax.axvspan(-inside, inside, color="0.93", zorder=0, label="5 to 95 % of the set")
    rng = np.random.default_rng(0)
    for k, row in enumerate(rows):
        sky, of_set = (np.clip(x, -FARTHEST, FARTHEST) for x in (row.sky, row.of_set))
        labels = ("images of the set", "the sky") if k == 0 else (None, None)
        ax.plot(of_set, k + rng.uniform(-0.25, 0.25, len(of_set)), ".", ms=2, color="0.6", mec="none", label=labels[0])
        ax.plot(sky, k, "o", ms=6, color=LINES[2] if row.unusual else LINES[1], label=labels[1])
        ax.text(1.02, k, row.values, transform=ax.get_yaxis_transform(), va="center", fontsize="x-small")
    ax.set_yticks(range(len(rows)), [row.name for row in rows], fontsize="small")
    ax.tick_params(axis="y", which="minor", left=False, right=False)
    ax.set(xlim=(-FARTHEST - 0.3, FARTHEST + 0.3), ylim=(len(rows) - 0.5, -0.5))
    ax.set(xlabel="deviation [standard deviations of the set]", title="statistic: sky (5 … 95 % of the set)")
    ax.legend(loc="lower left", fontsize="x-small", frameon=True)
