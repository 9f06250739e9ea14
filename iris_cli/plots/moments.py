"""Moment maps of the sky: total along each line of sight, mean velocity, and velocity dispersion."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.plots.axes_of_sky import PLAIN, VELOCITY_COLOURS, Appearance, colour_bar, draw_lb, stretch
from iris_cli.plots.orbits import over_lb


def draw_moments(
    moments: Mapping[int, NDArray], lon: Axis, lat: Axis, total_label: str, look: Appearance = PLAIN
) -> Figure:
    """Maps (B, L) of moment 0, labelled `total_label`, and of moments 1 and 2 in km/s, each in a panel."""
    panels_for = {
        0: (total_label, look.norm or stretch(moments[0]), look.colours),
        1: ("mean LSR velocity [km/s]", _symmetric(moments[1]), VELOCITY_COLOURS),
        2: ("velocity dispersion [km/s]", stretch(moments[2], None, "linear"), look.colours),
    }
    shape = (lat.edges()[-1] - lat.edges()[0]) / (lon.edges()[-1] - lon.edges()[0])
    figure = look.style.figure(2, len(panels_for), aspect=float(np.clip(2.0 * shape, 0.3, 1.2)), layout="compressed")
    panels = figure.subplots(len(panels_for), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (order, (name, norm, colour_map)) in zip(panels, panels_for.items(), strict=True):
        drawn = draw_lb(panel, moments[order], lon, lat, norm, colour_map)
        panel.set_facecolor("0.8")  # there is no velocity where nothing emits
        colour_bar(drawn, panel, name)
        panel.label_outer()
    over_lb(panels[0], look.orbits)
    panels[0].set_title(look.title)
    return figure


def _symmetric(velocity: NDArray) -> Normalize:
    """White at rest, with equal ranges of red and blue."""
    finite = np.abs(velocity[np.isfinite(velocity)])
    highest = float(np.quantile(finite, 0.995)) if finite.size else 1.0
    return Normalize(-max(highest, 1e-30), max(highest, 1e-30))
