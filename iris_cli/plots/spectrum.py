"""Spectra: brightness against velocity, as a histogram of channels."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import VELOCITY
from iris_cli.plots.style import LINES, STYLES, Style


def draw_spectra(
    spectra: Mapping[str, NDArray], v: Axis, brightness_label: str, *, title: str = "", style: Style = STYLES["screen"]
) -> Figure:
    """`spectra` by name, (V,) each, on one velocity axis."""
    figure = style.figure(aspect=0.6)
    ax = figure.subplots()
    for (name, spectrum), colour in zip(spectra.items(), LINES * len(spectra), strict=False):
        ax.stairs(spectrum, v.edges(), label=name, color=colour, linewidth=style.line_pt, baseline=None)
    ax.axhline(0.0, color="0.6", linewidth=0.5 * style.line_pt, zorder=0)
    ax.set_xlim(*v.edges()[[0, -1]])
    ax.set(xlabel=VELOCITY, ylabel=brightness_label)
    if len(spectra) > 1:
        ax.legend()
    ax.set_title(title)
    return figure
