"""Arrays on axes, for programs and notebooks: each function draws one panel with a colour bar and returns its axes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import colour_bar, draw_from_north, draw_lv
from iris_cli.plots.axes_of_sky import label as label_of
from iris_cli.plots.near_far import P_NEAR, draw_p_near


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="compressed")[1]


def plot_lv(
    image: ArrayLike,
    grid: Grid,
    ax: Axes | None = None,
    *,
    label: str = label_of("temperature"),
    norm: Normalize | None = None,
) -> Axes:
    """An l-v image (L, V), ascending axes of `grid`: longitude in deg increases to the left, velocity in km/s upwards.

    Pixels that are NaN are hatched. `label` is that of the colour bar, whose scale is asinh without a `norm`. Without
    `ax`, a new figure of pyplot is made; so do the other functions.
    """
    ax = _axes(ax)
    colour_bar(draw_lv(ax, np.asarray(image), grid, norm), ax, label)
    return ax


def plot_map(
    density: ArrayLike,
    grid: Grid,
    ax: Axes | None = None,
    *,
    label: str = label_of("density"),
    norm: Normalize | None = None,
) -> Axes:
    """A map (R', L) seen from Galactic north, in pc around Sgr A*, the Sun below; values in M_sun/pc^3."""
    ax = _axes(ax)
    colour_bar(draw_from_north(ax, np.asarray(density), grid, norm), ax, label)
    return ax


def plot_p_near(p_near: ArrayLike, grid: Grid, ax: Axes | None = None) -> Axes:
    """The probability (L, V) that gas is nearer than Sgr A*: blue is near, red far; grey where it is NaN."""
    ax = _axes(ax)
    colour_bar(draw_p_near(ax, np.asarray(p_near), grid), ax, P_NEAR)
    return ax
