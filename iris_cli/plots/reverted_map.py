"""A reverted map in parsec around Sgr A*, the Sun below; beside it the spread of the networks and the observation.

Longitude increases to the left. Pixels are drawn in their true shape, as wedges.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from iris_cli.config.cube import LEAST_COVERAGE, at_galactic_centre
from iris_cli.config.grid import Grid
from iris_cli.plots.axes_of_sky import colour_bar, draw_from_north, draw_lv, stretch
from iris_cli.plots.style import STYLES, Style, write_below
from iris_cli.standard.orbit_footprint import ORBITS, footprint_of, reobserve

#: A field that is longer in one direction by more than this factor has different scales along its axes.
TRUE_SCALE = 4.0
UNIT_LABELS = {"kg/m3": r"kg m$^{-3}$", "Msun/pc3": r"M$_\odot$ pc$^{-3}$"}
_LINES = {"Walker et al. 2025": ("white", "-"), "Lipman et al. 2026": ("white", ":")}


def draw_map(
    density: NDArray,
    spread: NDArray | None,
    observed: NDArray,
    coverage: NDArray,
    grid: Grid,
    unit: str,
    centre_deg: tuple[float, float] = (0.0, 0.0),
    caption: str = "",
    samples: NDArray | None = None,
    style: Style = STYLES["screen"],
) -> Figure:
    """Densities (R', L) in `unit`, observation and coverage (L, V). `centre_deg` is the position of the grid's centre.

    Three `samples` (3, R', L), if there are any, are a row of their own; mean and spread are then those of samples.
    Longitudes without coverage are hatched, and hold no gas. Without a `spread`, that panel is left out. Orbit models
    are shown at the Galactic Centre only.
    """
    panels = 2 if spread is None else 3
    shown = panels if samples is None else 2 * panels
    columns = min(panels, 2) if style.paper else panels  # on a page of a journal, three are too narrow
    figure = style.figure(columns, -(-shown // columns), aspect=0.9, layout="compressed")
    places = figure.add_gridspec(-(-shown // columns), columns)
    axes = [figure.add_subplot(places[k // columns, k % columns]) for k in range(shown)]
    whose = "networks" if samples is None else "samples"
    unseen = coverage.max(axis=1) < LEAST_COVERAGE
    density, spread = np.where(unseen, np.nan, density), None if spread is None else np.where(unseen, np.nan, spread)
    norm = stretch(density)
    drawn = draw_from_above(axes[0], density, grid, centre_deg, norm)
    colour_bar(drawn, axes[0], f"mean H$_2$ density [{UNIT_LABELS[unit]}]")
    axes[0].set_title("from above" if spread is None else f"from above, mean of the {whose}", fontsize="medium")
    if spread is not None:
        drawn = draw_from_above(axes[1], spread, grid, centre_deg, norm, orbits=False)
        colour_bar(drawn, axes[1], f"standard deviation [{UNIT_LABELS[unit]}]")
        axes[1].set_title(f"spread of the {whose}", fontsize="medium")
    for k, (ax, sample) in enumerate(zip(axes[panels:], samples, strict=True), 1) if samples is not None else ():
        drawn = draw_from_above(ax, np.where(unseen, np.nan, sample), grid, centre_deg, norm, orbits=False)
        colour_bar(drawn, ax, f"H$_2$ density [{UNIT_LABELS[unit]}]")
        ax.set_title(f"sample {k}", fontsize="medium")
    seen = _draw_observed(axes[panels - 1], observed, coverage, density, grid, centre_deg)
    colour_bar(seen, axes[panels - 1], "brightness temperature [K]")
    if caption:
        contours = "; contours: where the gas of the map would be seen if it moved on these orbits"
        write_below(figure, caption + (contours if at_galactic_centre(*centre_deg) else ""), style)
    return figure


def draw_from_above(
    ax: Axes,
    image: NDArray,
    grid: Grid,
    centre_deg: tuple[float, float] = (0.0, 0.0),
    norm: Normalize | None = None,
    orbits: bool = True,
) -> QuadMesh:
    """(R', L) with the offset in longitude to the left and along the line of sight upwards, both in pc."""
    drawn = draw_from_north(ax, image, grid, norm, centre_deg=centre_deg)
    width, depth = (abs(high - low) for low, high in (ax.get_xlim(), ax.get_ylim()))
    ax.set_aspect("equal" if TRUE_SCALE > depth / width > 1 / TRUE_SCALE else "auto")
    ax.set_facecolor("0.92")
    low, high = ax.get_ylim()
    if orbits and at_galactic_centre(*centre_deg) and low < 0.0 < high:
        for name, orbit in ORBITS.items():
            x, y = orbit.track()[:, :2].T
            colour, style = _LINES[name]
            ax.plot(np.append(-y, -y[0]), np.append(-x, -x[0]), color=colour, ls=style, lw=0.9, alpha=0.8, label=name)
        ax.legend(loc="upper right", fontsize="x-small", facecolor="0.35", labelcolor="white", frameon=True)
    return drawn


def _draw_observed(
    ax: Axes, observed: NDArray, coverage: NDArray, density: NDArray, grid: Grid, centre_deg: tuple[float, float]
) -> AxesImage:
    """The observation, hatched where unobserved, with the footprint of the map's gas on each orbit model."""
    drawn = draw_lv(ax, observed, grid)
    lon, v = grid.longitude.centres(), grid.velocity.centres()
    if float(coverage.min()) < LEAST_COVERAGE:
        unseen = (coverage < LEAST_COVERAGE).T.astype(float)
        hatched = ax.contourf(lon, v, unseen, levels=[0.5, 1.5], colors="none", hatches=["///"])
        hatched.set(edgecolor="0.6", linewidth=0.0)
        ax.plot([], [], color="0.6", ls="none", marker="$///$", markersize=12, label="not observed")
    for name, orbit in ORBITS.items() if at_galactic_centre(*centre_deg) else ():
        colour, style = _LINES[name]
        footprint = footprint_of(reobserve(np.nan_to_num(density), grid, orbit)).T.astype(float)
        if footprint.any():
            ax.contour(lon, v, footprint, levels=[0.5], colors=colour, linestyles=style, linewidths=0.9)
            ax.plot([], [], color=colour, ls=style, lw=0.9, label=f"map, {name}")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right", fontsize="xx-small", facecolor="0.35", labelcolor="white", frameon=True)
    if centre_deg[0]:
        ax.set_xlabel(f"Galactic longitude from l = {centre_deg[0]:g}° [deg]")
    ax.set_title("observed", fontsize="medium")
    return drawn
