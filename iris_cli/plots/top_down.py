"""The view from Galactic north: H2 density in its true shape around Sgr A*, the Sun below."""

from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import PLAIN, Appearance, colour_bar, draw_from_north, is_tall, label
from iris_cli.plots.orbits import over_from_north
from iris_cli.plots.style import write_below
from iris_cli.standard.top_down_plane import corners_pc


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
