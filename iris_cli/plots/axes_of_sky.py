"""Axes as astronomers draw them: longitude grows to the left, velocity and distance upwards, densities in an asinh stretch."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.config.grid import Grid

COLOURS = "cividis"  # readable with any colour vision, and in grey


def _extent(across: Axis, up: Axis) -> tuple[float, float, float, float]:
    """Left, right, bottom, top: the outer edges of the cells, longitude from right to left."""
    x, y = across.edges(), up.edges()
    return float(x[-1]), float(x[0]), float(y[0]), float(y[-1])


def stretch(image: NDArray, top: float | None = None) -> Normalize:
    """Linear near zero, logarithmic above a fiftieth of the highest: faint gas and bright clouds in one picture."""
    highest = max(float(top if top is not None else np.max(image, initial=0.0)), 1e-30)
    return AsinhNorm(linear_width=0.02 * highest, vmin=0.0, vmax=highest)


def draw_lv(ax: Axes, image: NDArray, grid: Grid, norm: Normalize | None = None) -> AxesImage:
    """An observation (L, V)."""
    drawn = _draw(ax, image.T, _extent(grid.longitude, grid.velocity), norm or stretch(image))
    ax.set_xlabel("Galactic longitude [deg]")
    ax.set_ylabel("LSR velocity [km/s]")
    return drawn


def draw_top_down(ax: Axes, image: NDArray, grid: Grid, norm: Normalize | None = None) -> AxesImage:
    """A density image (R', L), the observer below."""
    r = grid.distance
    first, last = (float(r.centres()[i]) for i in (grid.r_crop_min, grid.r_crop_max - 1))
    shown = Axis("distance", "pc", first, last, grid.r_crop_max - grid.r_crop_min)
    drawn = _draw(ax, image, _extent(grid.longitude, shown), norm or stretch(image))
    ax.set_xlabel("Galactic longitude [deg]")
    ax.set_ylabel("distance from the Sun [pc]")
    return drawn


def _draw(ax: Axes, rows: NDArray, extent: tuple[float, float, float, float], norm: Normalize) -> AxesImage:
    """`rows[j, i]`: j upwards, i along growing longitude, which the extent lets run to the left."""
    left, right, bottom, top = extent
    options: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "cmap": COLOURS}
    drawn = ax.imshow(rows, extent=(right, left, bottom, top), norm=norm, **options)
    ax.set_xlim(left, right)
    return drawn
