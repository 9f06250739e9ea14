"""Statistics of an observed l-v image beside those of a set of images, and the image beside the most similar one."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.evaluation.image_statistics import STATISTICS, in_blocks
from iris_cli.evaluation.out_of_distribution import PIXELS, SIGMAS_OF_95, UNUSUAL, Comparison, ImageSet, InputScore
from iris_cli.plots.axes_of_sky import colour_bar, draw_lv, stretch
from iris_cli.plots.style import LINES, STYLES, Style, write_below

#: Deviations are drawn up to this one.
FARTHEST = 8.0


def draw_sky_statistics(
    score: InputScore, comparison: Comparison, known: ImageSet, image: NDArray, style: Style = STYLES["screen"]
) -> Figure:
    """The deviation of each statistic with the values of the set, the largest above; the image (L, V), and the image
    of the set with the most similar statistics. Both are hatched where the survey did not observe.
    """
    figure = style.figure(2, aspect=0.85)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.45, 1.0))
    _draw_deviations(figure.add_subplot(grid[:, 0]), score, comparison)
    own = comparison.deviations([rank.value for rank in map(score.statistics.__getitem__, STATISTICS)])
    off = comparison.deviations(comparison.statistics) - own
    nearest = known.images[int(np.argmin((off**2).sum(axis=1)))]
    shown = [np.where(comparison.observed, each, np.nan) for each in (in_blocks(image[None], PIXELS)[0], nearest)]
    axes = [figure.add_subplot(grid[row, 1]) for row in range(2)]
    for ax, each, title in zip(axes, shown, ("the sky", "the most similar image of the set"), strict=True):
        drawn = draw_lv(ax, each, (comparison.longitude, comparison.velocity), stretch(np.nan_to_num(np.stack(shown))))
        ax.set_title(title)
    axes[0].set_xlabel("")
    colour_bar(drawn, axes, "brightness temperature [K]")
    write_below(figure, f"{score}.".capitalize())
    return figure


def _draw_deviations(ax: Axes, score: InputScore, comparison: Comparison) -> None:
    names, deviations = list(STATISTICS), np.clip(comparison.deviations(comparison.statistics), -FARTHEST, FARTHEST)
    ax.axvspan(-SIGMAS_OF_95, SIGMAS_OF_95, color="0.93", zorder=0, label="5 to 95 % of the set")
    rng = np.random.default_rng(0)
    for row, (name, rank) in enumerate(score.statistics.items()):
        spread = row + rng.uniform(-0.25, 0.25, len(deviations))
        label = "images of the set" if row == 0 else None
        ax.plot(deviations[:, names.index(name)], spread, ".", ms=2, color="0.6", mec="none", label=label)
        inside = abs(rank.deviation) <= UNUSUAL
        at = float(np.clip(rank.deviation, -FARTHEST, FARTHEST))
        ax.plot(at, row, "o", ms=6, color=LINES[1] if inside else LINES[2], label="the sky" if row == 0 else None)
        unit = f" {STATISTICS[name].unit}".rstrip()
        values = f"{rank.value:.3g} ({rank.low:.3g} … {rank.high:.3g}){unit}"
        ax.text(1.02, row, values, transform=ax.get_yaxis_transform(), va="center", fontsize="x-small")
    ax.set_yticks(range(len(score.statistics)), list(score.statistics), fontsize="small")
    ax.tick_params(axis="y", which="minor", left=False, right=False)
    ax.set(xlim=(-FARTHEST - 0.3, FARTHEST + 0.3), ylim=(len(score.statistics) - 0.5, -0.5))
    ax.set(xlabel="deviation [standard deviations of the set]", title="statistic: sky (5 … 95 % of the set)")
    ax.legend(loc="lower left", fontsize="x-small", frameon=True)
