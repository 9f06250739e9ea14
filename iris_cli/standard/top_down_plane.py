"""Positions of the pixels of a view from above relative to Sgr A*, their areas and volumes.

In a simulated galaxy Sgr A* is the centre: longitude 0, at the grid's observer distance. On the sky it is at
l = -0.056 deg, 8 pc from longitude 0; maps of telescope data are relative to that (`corners_pc` with a `centre_deg`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.config.cube import at_galactic_centre
from iris_cli.config.grid import Grid

#: On the sky (Reid & Brunthaler 2004).
SGR_A_LON_DEG = -0.0558


def cropped_distance(grid: Grid) -> Axis:
    """The distance axis of a view from above: that of the grid, cropped."""
    r = grid.distance.centres()[grid.r_crop_min : grid.r_crop_max]
    return Axis("distance", "pc", float(r[0]), float(r[-1]), len(r))


def position_pc(r_pc: NDArray, lon_deg: NDArray, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(left, away) relative to Sgr A* in pc: towards larger longitude, and away from the observer; at latitude 0."""
    lon = np.deg2rad(lon_deg)
    return r_pc * np.sin(lon), r_pc * np.cos(lon) - grid.observer_distance_pc


def corners_pc(
    grid: Grid, centre_deg: tuple[float, float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """(R' + 1, L + 1) corners of the pixels, left of and beyond the origin in pc, and the name of the origin.

    Without `centre_deg`, for a simulated galaxy, the origin is its centre. With `centre_deg`, the position of the
    grid's centre on the sky, the origin is Sgr A*, or the grid's centre if that is elsewhere.
    """
    left, far = position_pc(cropped_distance(grid).edges()[:, None], grid.longitude.edges()[None, :], grid)
    if centre_deg is None:
        return left, far, "Sgr A*"
    if not at_galactic_centre(*centre_deg):
        return left, far, f"l = {centre_deg[0]:g}°"
    sgr_a = grid.observer_distance_pc * float(np.tan(np.deg2rad(SGR_A_LON_DEG - centre_deg[0])))
    return left - sgr_a, far, "Sgr A*"


@dataclass(frozen=True)
class Plane:
    """Pixels (R', L): centres `left_pc`, `away_pc`; area in the plane; volume of the cells averaged in each pixel."""

    left_pc: NDArray[np.float64]
    away_pc: NDArray[np.float64]
    area_pc2: NDArray[np.float64]
    volume_pc3: NDArray[np.float64]
    #: Radius of the largest circle around Sgr A* inside the map; negative if Sgr A* is outside.
    complete_radius_pc: float
    #: Side of a pixel along distance, and across it at the distance of Sgr A*.
    step_pc: tuple[float, float]

    @classmethod
    def of(cls, grid: Grid) -> "Plane":
        distance = cropped_distance(grid)
        left, away = position_pc(distance.centres()[:, None], grid.longitude.centres()[None, :], grid)
        r, lon_step = distance.edges(), np.deg2rad(grid.longitude.step)
        sin_b = np.sin(np.deg2rad(grid.latitude.edges()[[0, -1]]))
        area = np.broadcast_to((np.diff(r**2) / 2.0 * lon_step)[:, None], left.shape)
        volume = np.broadcast_to((np.diff(r**3) / 3.0 * lon_step * (sin_b[1] - sin_b[0]))[:, None], left.shape)
        centre = grid.observer_distance_pc
        lon = np.deg2rad(grid.longitude.edges()[[0, -1]])
        complete = min(centre - r[0], r[-1] - centre, *(centre * np.sin(lon * [-1, 1])))
        return cls(left, away, area, volume, float(complete), (distance.step, centre * float(lon_step)))

    @property
    def radius_pc(self) -> NDArray[np.float64]:
        return np.hypot(self.left_pc, self.away_pc)


def pixel_volume_pc3(grid: Grid) -> NDArray[np.float64]:
    """(R', 1) pc^3: the volume of a pixel of a map, over all latitudes of the grid."""
    r = grid.distance.centres()[grid.r_crop_min : grid.r_crop_max]
    height, width = (np.deg2rad(a.step) * n for a, n in ((grid.latitude, grid.lat_steps), (grid.longitude, 1)))
    return np.asarray(r**2 * grid.distance.step * height * width)[:, None]
