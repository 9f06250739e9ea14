"""Power spectra of predicted maps, relative to those of true ones."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.plots.curves import Lines, draw_curves, legend, mark_perfect
from iris_cli.plots.style import STYLES, Style, plain_ticks


def draw_power_spectra(ratio: Lines, correlation: Lines, style: Style = STYLES["screen"]) -> Figure:
    """Power ratio and cross-correlation against wavenumber in pc^-1, with wavelengths on the upper axis."""
    figure = style.figure(2, aspect=0.75)
    first, second = figure.subplots(1, 2)
    draw_curves(first, ratio, style)
    mark_perfect(first)
    first.set(
        xlabel=r"wavenumber $1/\lambda$ [pc$^{-1}$]", ylabel=r"$P_\mathrm{predicted} / P_\mathrm{true}$", yscale="log"
    )
    draw_curves(second, correlation, style)
    mark_perfect(second, 0.0)
    second.set(xlabel=r"wavenumber $1/\lambda$ [pc$^{-1}$]", ylabel="cross-correlation", ylim=(-0.3, 1.05))
    for ax in (first, second):
        ax.set_xscale("log")
        above = ax.secondary_xaxis("top", functions=(_inverse, _inverse))
        above.set_xlabel(r"wavelength $\lambda$ [pc]")
        for axis in (ax.xaxis, above.xaxis):
            plain_ticks(axis)
        ax.tick_params(which="both", top=False)
        legend(ax)
    return figure


def _inverse(k: NDArray) -> NDArray:
    return 1.0 / np.maximum(np.asarray(k, np.float64), 1e-30)
