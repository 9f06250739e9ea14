"""Where the pixels of a view from above lie around Sgr A*, and how much of the Galaxy each of them holds.

In a simulated galaxy Sgr A* is its centre: longitude 0, at the grid's distance of the observer. On the sky it is at
l = -0.056 deg, 8 pc from there; maps of telescope data are drawn around that (`corners_pc` with a `centre_deg`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.axes import Axis
from iris_cli.config.cube import at_galactic_centre
from iris_cli.config.grid import Grid

#: On the sky (Reid & Brunthaler 2004).
SGR_A_LON_DEG = -0.0558


def cropped_distance(grid: Grid) -> Axis:
    """The distances of a view from above: the grid's, cropped."""
    r = grid.distance.centres()[grid.r_crop_min : grid.r_crop_max]
    return Axis("distance", "pc", float(r[0]), float(r[-1]), len(r))


def place(r_pc: NDArray, lon_deg: NDArray, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(left, away) of Sgr A* in pc: towards growing longitude, and away from the observer; at latitude 0."""
    lon = np.deg2rad(lon_deg)
    return r_pc * np.sin(lon), r_pc * np.cos(lon) - grid.observer_distance_pc


def corners_pc(
    grid: Grid, centre_deg: tuple[float, float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """(R' + 1, L + 1) corners of the pixels, left and beyond of the origin in pc, and the origin's name.

    Without `centre_deg`, a simulated galaxy around its centre. With it, where on the sky the model looks: around
    Sgr A*, or around the model's centre when that is somewhere else.
    """
    left, far = place(cropped_distance(grid).edges()[:, None], grid.longitude.edges()[None, :], grid)
    if centre_deg is None:
        return left, far, "Sgr A*"
    if not at_galactic_centre(*centre_deg):
        return left, far, f"l = {centre_deg[0]:g}°"
    sgr_a = grid.observer_distance_pc * float(np.tan(np.deg2rad(SGR_A_LON_DEG - centre_deg[0])))
    return left - sgr_a, far, "Sgr A*"


@dataclass(frozen=True)
class Plane:
    """Pixels (R', L): centres `left_pc`, `away_pc`; area in the plane; volume of the cells that the mean is over."""

    left_pc: NDArray[np.float64]
    away_pc: NDArray[np.float64]
    area_pc2: NDArray[np.float64]
    volume_pc3: NDArray[np.float64]
    #: Radius of the largest circle around Sgr A* that the map holds whole; below 0 when Sgr A* lies outside.
    complete_radius_pc: float
    #: Side of a pixel along distance, and across it at the distance of Sgr A*.
    step_pc: tuple[float, float]

    @classmethod
    def of(cls, grid: Grid) -> Plane:
        distance = cropped_distance(grid)
        left, away = place(distance.centres()[:, None], grid.longitude.centres()[None, :], grid)
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
