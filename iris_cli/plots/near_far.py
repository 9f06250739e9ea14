"""Near or far of Sgr A*: the observed l-v image with clouds, P(near), and what the training set alone says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import colour_bar, draw_lv
from iris_cli.plots.axes_of_sky import label as label_of
from iris_cli.plots.curves import Lines, draw_curves, mark_diagonal
from iris_cli.plots.style import STYLES, Style, write_below

#: P(near) is drawn where there is more than this share of the brightest pixel's light or gas.
FAINTEST = 5e-3
#: Blue is near, as gas that is drawn in front.
NEAR_FAR_COLOURS, NEAR, FAR, UNKNOWN = "RdBu", "#2166ac", "#b2182b", "white"


P_NEAR = "P(near): probability of being in front"


@dataclass(frozen=True)
class Marker:
    """A cloud on the l-v image; `near` is the literature's side, None where it has none, or not with one sigma."""

    lon_deg: float
    v_km_s: float
    near: bool | None


def draw_near_far(
    observed: NDArray,
    p_near: NDArray,
    prior: NDArray,
    shown: NDArray[np.bool_],
    unseen: NDArray[np.bool_],
    grid: Grid,
    clouds: Sequence[Marker] = (),
    caption: str = "",
    style: Style = STYLES["screen"],
) -> Figure:
    """All images (L, V). P(near) is drawn in the pixels that are `shown`; `unseen` ones are hatched."""
    figure = style.figure(3, aspect=1.2 if style.paper else 1.0)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    drawn = draw_lv(axes[0], np.where(unseen, np.nan, observed), grid)
    colour_bar(drawn, axes[0], "$T_B$ [K]" if style.paper else "brightness temperature [K]")
    for ax, image in zip(axes[1:], (p_near, prior), strict=True):
        drawn = draw_p_near(ax, np.where(shown & ~unseen, image, np.nan), grid)
        ax.set_ylabel("")
    colour_bar(drawn, list(axes[1:]), "P(near)" if style.paper else P_NEAR)
    titles = "observed", "P(near)", "prior, without the image"
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize="medium")
        _mark(ax, clouds, style)
    bright, seen = np.argwhere(shown & ~unseen), np.flatnonzero(~unseen.all(axis=1))
    if len(seen):
        axes[0].set_xlim(grid.longitude.edges()[seen[-1] + 1], grid.longitude.edges()[seen[0]])
    if len(bright):
        low, high = grid.velocity.edges()[bright[:, 1].min()], grid.velocity.edges()[bright[:, 1].max() + 1]
        axes[0].set_ylim(low, high)
    if clouds:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize="small")
    if caption:
        write_below(figure, caption, style)
    return figure


def draw_near_far_pairs(
    rows: Sequence[Sequence[NDArray]], names: Sequence[str], grid: Grid, quantity: str, style: Style = STYLES["screen"]
) -> Figure:
    """A row for each mock galaxy: its image, the near share of its gas, P(near) and the prior, (L, V) each; shares are
    NaN where they are not drawn.
    """
    figure = style.figure(4, len(rows), aspect=1.3 if style.paper else 0.9)
    panels = figure.subplots(len(rows), 4, squeeze=False)
    for row, name, (image, *shares) in zip(panels, names, rows, strict=True):
        colour_bar(draw_lv(row[0], image, grid), row[0], label_of(quantity))
        for ax, share in zip(row[1:], shares, strict=True):
            drawn = draw_p_near(ax, share, grid, [0.5])
            ax.set_ylabel("")
        colour_bar(drawn, list(row[1:]), "near share of the gas")
        titles = name if style.paper else f"observation of {name}", "true", "P(near)", "prior, without the image"
        for ax, title in zip(row, titles, strict=True):
            ax.set_title(title)
        for ax in row[1::2] if style.paper else ():  # panels are narrower than labels
            ax.set_xlabel("")
    return figure


def draw_tenths(near: Lines, gas: Lines, style: Style = STYLES["screen"]) -> Figure:
    """By tenths of P(near), of each predictor: the share of the gas that is near, and the share of all gas."""
    figure = style.figure(2, aspect=0.8)
    first, second = figure.subplots(1, 2)
    draw_curves(first, near, style, "o")
    mark_diagonal(first)
    first.set(ylabel="share that is near")
    draw_curves(second, gas, style, "o")
    second.set(ylim=(0, None), ylabel="share of the gas, in tenths of P(near)")
    for ax in (first, second):
        ax.set(xlim=(0, 1), xlabel="P(near)")
        ax.legend()
    return figure


def draw_p_near(ax: Axes, image: NDArray, grid: Grid, levels: Sequence[float] = (0.25, 0.5, 0.75)) -> AxesImage:
    """P(near) (L, V), grey where it is NaN, with contours."""
    drawn = draw_lv(ax, image, grid, Normalize(0.0, 1.0), NEAR_FAR_COLOURS)
    ax.patch.set(facecolor="0.85", hatch=None)
    if np.nanmin(image) < levels[0] < np.nanmax(image):
        lon, v = grid.longitude.centres(), grid.velocity.centres()
        ax.contour(lon, v, image.T, levels, colors="0.2", linewidths=0.7)
    return drawn


def _mark(ax: Axes, clouds: Sequence[Marker], style: Style) -> None:
    limits = ax.get_xlim(), ax.get_ylim()
    sides = ((True, NEAR, "near in the literature"), (False, FAR, "far"), (None, UNKNOWN, "within 1 sigma, or unknown"))
    for side, colour, label in sides:
        chosen = [cloud for cloud in clouds if cloud.near is side]
        size, edge = (2.2, 0.08) if side is None else (4.2, 0.11)
        places = [cloud.lon_deg for cloud in chosen], [cloud.v_km_s for cloud in chosen]
        if chosen:
            scaled: dict[str, Any] = {"s": size * style.line_pt * 6.0, "linewidths": edge * style.font_pt}
            ax.scatter(*places, c=colour, edgecolors="black", label=label, zorder=3, **scaled)
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
