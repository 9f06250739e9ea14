"""Radial profiles of true and predicted maps: surface density and enclosed mass."""

from matplotlib.figure import Figure

from iris_cli.plots.curves import Lines, draw_curves, legend, mark_perfect
from iris_cli.plots.style import STYLES, Style


def draw_radial_profiles(surface: Lines, enclosed: Lines, ratio: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Surface density, enclosed mass (true and predicted each), and the ratio of enclosed masses for each set."""
    figure = style.figure(3, aspect=0.9)
    first, second, third = figure.subplots(1, 3)
    draw_curves(first, surface, style)
    first.set(xlabel="distance from Sgr A* [pc]", ylabel=r"H$_2$ surface density [M$_\odot$ pc$^{-2}$]", yscale="log")
    draw_curves(second, enclosed, style)
    second.set(xlabel="radius [pc]", ylabel=r"H$_2$ mass within [M$_\odot$]", yscale="log")
    draw_curves(third, ratio, style)
    mark_perfect(third)
    third.set(xlabel="radius [pc]", ylabel="predicted / true mass within", ylim=(0.0, None))
    for ax in (first, second, third):
        ax.set_xlim(0.0, None)
        legend(ax)
    return figure
