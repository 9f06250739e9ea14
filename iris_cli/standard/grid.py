"""Positions of the cells of a physical tensor in the galaxy, and their lines of sight."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.grid import Grid


@dataclass(frozen=True)
class Cells:
    """Positions (x, y, z) in pc and line-of-sight unit vectors (nx, ny, nz) of a slab (R, L, B) of cells.

    Both are in the galactocentric frame (see `iris_cli.axes`). The unit vector points away from the observer, so that
    its product with a velocity is positive for receding gas.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    nx: NDArray[np.float64]
    ny: NDArray[np.float64]
    nz: NDArray[np.float64]


def cells(
    grid: Grid, view_deg: float, rows: slice = slice(None), lon0_deg: float = 0.0, lat0_deg: float = 0.0
) -> Cells:
    """The cells of distance rows `rows`, for an observer at azimuth `view_deg` in the galaxy's frame.

    View 0 is on the +x axis; azimuth increases anticlockwise seen from north. The galaxy's centre is at longitude and
    latitude (lon0_deg, lat0_deg).
    """
    r = grid.distance.centres()[rows, None, None]
    away, left, up = (each[None] for each in directions(grid, lon0_deg, lat0_deg))
    toward = grid.observer_distance_pc - r * away
    cos, sin = np.cos(np.deg2rad(view_deg)), np.sin(np.deg2rad(view_deg))
    return Cells(
        x=cos * toward + sin * r * left,
        y=sin * toward - cos * r * left,
        z=r * up,
        nx=-cos * away + sin * left,
        ny=-sin * away - cos * left,
        nz=up,
    )


def directions(grid: Grid, lon0_deg: float = 0.0, lat0_deg: float = 0.0) -> tuple[NDArray, NDArray, NDArray]:
    """(L, B) components of the lines of sight: away from the observer at (lon0_deg, lat0_deg), left and up."""
    lon = np.deg2rad(grid.longitude.centres() - lon0_deg)[:, None]
    lat = np.deg2rad(grid.latitude.centres() - lat0_deg)[None, :]
    return np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0.0 * lon


def slabs(steps: int, cells_per_row: int, most_cells: int = 4_000_000) -> Iterator[slice]:
    """Divides distance rows into slabs of at most about `most_cells` cells, to limit memory."""
    rows = max(1, most_cells // cells_per_row)
    return (slice(first, min(first + rows, steps)) for first in range(0, steps, rows))
