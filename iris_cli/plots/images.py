"""The figures of one image: longitude and velocity, the sky and its moments, and the view from Galactic north."""

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import (
    PLAIN,
    VELOCITY_COLOURS,
    Appearance,
    Picture,
    colour_bar,
    draw_from_north,
    draw_lb,
    draw_lv,
    is_tall,
    label,
    stretch,
)
from iris_cli.plots.orbits import over_from_north, over_lb, over_lv
from iris_cli.plots.style import write_below
from iris_cli.standard.top_down_plane import corners_pc


def draw_lv_figure(lv: Picture, look: Appearance = PLAIN) -> Figure:
    """A longitude-velocity image, with orbits of published models."""
    figure = look.style.figure()
    ax = figure.subplots()
    drawn = draw_lv(ax, lv.image.T, (lv.across, lv.up), look.norm, look.colours)
    colour_bar(drawn, ax, lv.label)
    over_lv(ax, look.orbits)
    ax.set_title(look.title)
    return figure


def draw_lb_figure(sky: Picture, look: Appearance = PLAIN) -> Figure:
    """A map of the sky, grey where it is NaN: integrated intensity, gas column, or an image of the continuum."""
    return _sky_panels([(sky.image, sky.label, look.norm or stretch(sky.image), look.colours)], sky, look, 1.0)


def draw_moments(total: Picture, mean: NDArray, dispersion: NDArray, look: Appearance = PLAIN) -> Figure:
    """Maps of moment 0, and of moments 1 and 2 (B, L) in km/s on the same axes, each in a panel."""
    panels = [
        (total.image, total.label, look.norm or stretch(total.image), look.colours),
        (mean, "mean LSR velocity [km/s]", _symmetric(mean), VELOCITY_COLOURS),
        (dispersion, "velocity dispersion [km/s]", stretch(dispersion, None, "linear"), look.colours),
    ]
    return _sky_panels(panels, total, look, 2.0)


def _sky_panels(
    panels: list[tuple[NDArray, str, Normalize, str]], sky: Picture, look: Appearance, stretched: float
) -> Figure:
    """Images one below the other, on the axes of `sky`; a panel is `stretched` times as high as its image needs."""
    shape = np.ptp(sky.up.edges()) / np.ptp(sky.across.edges())
    aspect = float(np.clip(stretched * shape, 0.3, 1.2))
    figure = look.style.figure(min(len(panels), 2), len(panels), aspect=aspect, layout="compressed")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (image, name, norm, colours) in zip(axes, panels, strict=True):
        drawn = draw_lb(ax, image, sky.across, sky.up, norm, colours)
        ax.set_facecolor("0.8")  # there is no velocity where nothing emits
        colour_bar(drawn, ax, name)
        ax.label_outer()
    over_lb(axes[0], look.orbits)
    axes[0].set_title(look.title)
    return figure


def _symmetric(velocity: NDArray) -> Normalize:
    """White at rest, with equal ranges of red and blue."""
    finite = np.abs(velocity[np.isfinite(velocity)])
    highest = float(np.quantile(finite, 0.995)) if finite.size else 1.0
    return Normalize(-max(highest, 1e-30), max(highest, 1e-30))


def draw_top_down_figure(
    density: NDArray,
    grid: Grid,
    look: Appearance = PLAIN,
    centre_deg: tuple[float, float] | None = None,
    caption: str = "",
) -> Figure:
    """`density` (R', L) in inner units. `centre_deg` is the Galactic position of the grid's centre; None: simulated.

    The `caption` of a reverted map, which states its quality, is written below.
    """
    left, away, _ = corners_pc(grid, centre_deg)
    figure = look.style.figure(aspect=1.4 if is_tall(left, away) else 0.8, layout="compressed")
    ax = figure.subplots()
    drawn = draw_from_north(ax, density, grid, look.norm, look.colours, centre_deg)
    colour_bar(drawn, ax, label("density"))
    over_from_north(ax, look.orbits)
    ax.set_title(look.title)
    if caption:
        write_below(figure, caption, look.style)
    return figure
