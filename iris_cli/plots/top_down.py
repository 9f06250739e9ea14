"""The view from Galactic north: H2 density in its true shape around Sgr A*, the Sun below."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import COLOURS, colour_bar, draw_from_north, is_tall, label, stretch
from iris_cli.plots.orbits import Track, over_from_north
from iris_cli.plots.style import STYLES, Style, write_below
from iris_cli.standard.top_down_plane import corners_pc


def draw_top_down_figure(
    density: NDArray,
    grid: Grid,
    *,
    title: str = "",
    norm: Normalize | None = None,
    orbits: Sequence[Track] = (),
    colours: str = COLOURS,
    style: Style = STYLES["screen"],
    centre_deg: tuple[float, float] | None = None,
    caption: str = "",
) -> Figure:
    """`density` (R', L) in inner units. `centre_deg` is the Galactic position of the grid's centre; None: simulated.

    The `caption` of a reverted map, which states its quality, is written below.
    """
    left, away, _ = corners_pc(grid, centre_deg)
    figure = style.figure(aspect=1.4 if is_tall(left, away) else 0.8, layout="compressed")
    ax = figure.subplots()
    drawn = draw_from_north(ax, density, grid, norm or stretch(density), colours, centre_deg)
    colour_bar(drawn, ax, label("density"))
    over_from_north(ax, orbits)
    ax.set_title(title)
    if caption:
        write_below(figure, caption)
    return figure
