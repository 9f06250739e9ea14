"""Panels with the axes of the sky: longitude increases to the left, velocity and distance increase upwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import AsinhNorm, LogNorm, Normalize, PowerNorm
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from iris_cli import units
from iris_cli.axes import Axis
from iris_cli.config.grid import Grid
from iris_cli.errors import UsageError, choose
from iris_cli.plots.orbits import CENTRED, Place, Track
from iris_cli.plots.style import STYLES, Style
from iris_cli.standard.top_down_plane import corners_pc, cropped_distance

COLOURS = "cividis"  # readable with any colour vision, and in grey
VELOCITY_COLOURS = "RdBu_r"  # red recedes

LONGITUDE, LATITUDE = "Galactic longitude [deg]", "Galactic latitude [deg]"
VELOCITY, DISTANCE = "LSR velocity [km/s]", "distance from the Sun [pc]"
LEFT, AWAY = "offset along longitude [pc]", "offset along the line of sight [pc]"

_NAMES = {
    "density": "mean H$_2$ density",
    "v_density": "gas column per velocity",
    "temperature": "brightness temperature",
    "intensity": "intensity",
}
_UNIT_LABELS = {
    "solMass / pc3": r"M$_\odot$ pc$^{-3}$",
    "solMass s / (pc2 km)": r"M$_\odot$ pc$^{-2}$ (km/s)$^{-1}$",
    "solMass km2 / (pc2 s2)": r"M$_\odot$ pc$^{-2}$ (km/s)$^2$",
}


def label(quantity: str) -> str:
    """The label of a colour bar: a quantity of `units.QUANTITIES` and its unit."""
    unit = units.QUANTITIES[quantity]
    return f"{_NAMES[quantity]}\n[{_UNIT_LABELS.get(unit, unit)}]"


#: Name -> the norm between two values.
STRETCHES: dict[str, Callable[[float, float], Normalize]] = {
    # Linear near zero, logarithmic above a fiftieth of the maximum, so that faint and bright gas are visible together.
    "asinh": lambda low, high: AsinhNorm(linear_width=0.02 * high, vmin=low, vmax=high),
    # Three decades if no lowest value is given.
    "log": lambda low, high: LogNorm(low if low > 0 else 1e-3 * high, high, clip=True),
    "sqrt": lambda low, high: PowerNorm(0.5, low, high, clip=True),
    "linear": lambda low, high: Normalize(low, high),
}


def stretch(image: NDArray, top: float | None = None, name: str = "asinh", bottom: float = 0.0) -> Normalize:
    """A norm from `bottom` to `top` (default: the image's maximum). UsageError for an unknown name or empty range."""
    finite = image[np.isfinite(image)]
    highest = max(float(top if top is not None else np.max(finite, initial=0.0)), 1e-30)
    if not bottom < highest:
        raise UsageError(f"the colours would run from {bottom:g} to {highest:g}", "the lowest must be below")
    return choose("stretch", name, STRETCHES)(bottom, highest)


@dataclass(frozen=True)
class Appearance:
    """Title, colour scale and style of the figure of an image, and orbits over it.

    Without a `norm`, colours are an asinh scale from 0 to the image's maximum.
    """

    title: str = ""
    norm: Normalize | None = None
    orbits: Sequence[Track] = ()
    colours: str = COLOURS
    style: Style = STYLES["screen"]


PLAIN = Appearance()


@dataclass(frozen=True)
class Picture:
    """An image (up, across) with its axes; NaN where nothing was observed. `label` is its quantity with the unit."""

    image: NDArray
    across: Axis
    up: Axis
    label: str
    name: str
    #: Position of the centre of an orbit.
    place: Place = CENTRED


def colour_bar(drawn: ScalarMappable, ax: Axes | Sequence[Axes], label: str) -> Colorbar:
    """A colour bar beside one or more panels; an asinh scale has ticks only where they do not overlap."""
    first = ax if isinstance(ax, Axes) else ax[0]
    bar = first.figure.colorbar(drawn, ax=ax, label=label)
    if isinstance(drawn.norm, AsinhNorm):
        low, high, width = float(drawn.norm.vmin or 0.0), float(drawn.norm.vmax or 1.0), drawn.norm.linear_width
        tens = 10.0 ** np.arange(np.floor(np.log10(width)), np.floor(np.log10(high)) + 1)
        steps = [first_digit * ten for ten in tens for first_digit in (1, 2, 5)]
        bar.set_ticks([0.0, *(value for value in steps if width <= value <= high and value >= low)])
        bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
        bar.minorticks_off()
    return bar


#: A view from above whose depth is so many times its width has rotated labels, as horizontal ones do not fit.
TALL = 2.0


def is_tall(left_pc: NDArray, away_pc: NDArray) -> bool:
    return float(np.ptp(away_pc)) > TALL * float(np.ptp(left_pc))


def draw_image(ax: Axes, rows: NDArray, across: Axis, up: Axis, norm: Normalize, colours: str = COLOURS) -> AxesImage:
    """`rows[j, i]`: j upwards along `up`, i along `across`, which increases to the left if it is a longitude."""
    (left, right), (bottom, top) = across.edges()[[0, -1]], up.edges()[[0, -1]]
    options: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "cmap": colours}
    drawn = ax.imshow(rows, extent=(left, right, bottom, top), norm=norm, **options)
    ax.set_xlim((right, left) if across.name == "longitude" else (left, right))
    ticks_outside(ax)
    return drawn


def ticks_outside(ax: Axes) -> None:
    """Inside, they would be invisible on a dark image."""
    ax.tick_params(which="both", direction="out", top=False, right=False)


def draw_lv(
    ax: Axes, image: NDArray, sky: Grid | tuple[Axis, Axis], norm: Normalize | None = None, colours: str = COLOURS
) -> AxesImage:
    """An observation (L, V), on a grid or on its own axes of longitude and velocity; hatched where it is NaN."""
    lon, v = (sky.longitude, sky.velocity) if isinstance(sky, Grid) else sky
    drawn = draw_image(ax, image.T, lon, v, norm or stretch(image), colours)
    ax.set(xlabel=LONGITUDE, ylabel=VELOCITY)
    if np.isnan(image).any():
        ax.patch.set(facecolor="0.92", edgecolor="0.6", hatch="///", gid="not observed")
    return drawn


def draw_lb(ax: Axes, image: NDArray, lon: Axis, lat: Axis, norm: Normalize, colours: str = COLOURS) -> AxesImage:
    """A map of the sky (B, L) with equal scales along both axes."""
    drawn = draw_image(ax, image, lon, lat, norm, colours)
    ax.set_aspect("equal")
    ax.set(xlabel=LONGITUDE, ylabel=LATITUDE)
    return drawn


def draw_top_down(
    ax: Axes, image: NDArray, grid: Grid, norm: Normalize | None = None, colours: str = COLOURS
) -> AxesImage:
    """A density image (R', L) on the network's grid of longitude and distance, the observer below."""
    drawn = draw_image(ax, image, grid.longitude, cropped_distance(grid), norm or stretch(image), colours)
    ax.set(xlabel=LONGITUDE, ylabel=DISTANCE)
    return drawn


def hatch_unobserved(ax: Axes, left: NDArray, away: NDArray, unobserved: NDArray[np.bool_]) -> None:
    """Hatch the `unobserved` (L,) longitudes of a view from above with corners (R' + 1, L + 1)."""
    steps = np.diff(np.concatenate([[0], unobserved.astype(int), [0]]))
    for first, last in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        outline = [np.r_[c[0, first : last + 1], c[::-1, last], c[-1, first : last + 1][::-1]] for c in (left, away)]
        ax.fill(*outline, facecolor="0.92", edgecolor="0.6", hatch="///", linewidth=0.0, gid="not observed")


def draw_from_north(
    ax: Axes,
    image: NDArray,
    grid: Grid,
    norm: Normalize | None = None,
    colours: str = COLOURS,
    centre_deg: tuple[float, float] | None = None,
) -> QuadMesh:
    """A density image (R', L) in its true shape, in pc around Sgr A* (a cross); an arrow points down to the Sun.

    `centre_deg` is the Galactic position of the grid's centre; None for a simulation. Longitudes that hold only NaN are
    hatched: they were not observed.
    """
    left, away, name = corners_pc(grid, centre_deg)
    drawn = ax.pcolormesh(left, away, image, norm=norm or stretch(image), cmap=colours, rasterized=True)
    hatch_unobserved(ax, left, away, np.isnan(image).all(axis=0))
    ax.set_aspect("equal")
    ax.set_xlim(float(left.max()), float(left.min()))
    ax.set_ylim(float(away.min()), float(away.max()))
    narrow = is_tall(left, away)
    ax.set(
        xlabel=LEFT if centre_deg is None else f"offset from {name}\ntowards growing longitude [pc]",
        ylabel=AWAY if centre_deg is None else f"distance beyond {name} [pc]",
    )
    outlined: dict[str, Any] = {"color": "white", "path_effects": [withStroke(linewidth=2.5, foreground="black")]}
    ax.plot(0, 0, "+", markersize=8, gid=name, label=name, **outlined)
    arrow = {"arrowstyle": "->", **outlined}
    ax.annotate("", (0.08, 0.03), (0.08, 0.16), xycoords="axes fraction", arrowprops=arrow, gid="to the Sun")
    kpc = f", {grid.observer_distance_pc / 1e3:.2f} kpc" if centre_deg is not None and name == "Sgr A*" else ""
    side, turn = (0.3, 90) if narrow else (0.11, 0)
    ax.text(side, 0.05, f"to the Sun{kpc}", transform=ax.transAxes, rotation=turn, fontsize="small", **outlined)
    ticks_outside(ax)
    if narrow:
        ax.tick_params(axis="x", labelrotation=90)
    return drawn
