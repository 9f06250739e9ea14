"""A view from above observed again with the velocities of published CMZ orbits: the outlines in figures of a map.

A map contains positions of gas, not velocities. With the velocity field of an orbit model (every ellipse of the family
has the orbit's velocities at equal phase), its gas gets a place in the l-v image. This is an assumption, not a test of
the map: evaluation/reobservation.py has that.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from iris_cli.config.grid import Grid
from iris_cli.standard.grid import cells
from iris_cli.standard.orbit import LIPMAN_2026, WALKER_2025, Orbit

ORBITS = {"Walker et al. 2025": WALKER_2025, "Lipman et al. 2026": LIPMAN_2026}
#: Velocity dispersion of the gas about its orbit: motions of clouds, and deviations of real orbits from the model.
DISPERSION_KM_S = 20.0
#: The footprint is the smallest part of the l-v image that holds this share of the gas.
FOOTPRINT_SHARE = 0.9

Floats = NDArray[np.float64]


def line_of_sight_velocity(grid: Grid, orbit: Orbit) -> Floats:
    """(R', L) km/s in the plane, for gas on ellipses of the orbit's family; positive receding."""
    flat = replace(grid, lat_min_deg=-1e-6, lat_max_deg=1e-6, lat_steps=2)
    plane = cells(flat, 0.0, slice(grid.r_crop_min, grid.r_crop_max))
    x, y, n_x, n_y = (np.broadcast_to(a, plane.x.shape)[..., 0] for a in (plane.x, plane.y, plane.nx, plane.ny))
    v_p, v_q, _ = orbit.velocity(orbit.phase(*orbit.plane(x, y)))
    v_x, v_y = orbit.galactocentric(v_p, v_q)
    return v_x * n_x + v_y * n_y


def reobserve(density: NDArray, grid: Grid, orbit: Orbit) -> Floats:
    """(R', L) -> (L, V) column per velocity, in units of density times pc per km/s, without gas outside the range."""
    v = grid.velocity
    channel = (line_of_sight_velocity(grid, orbit) - v.first) / v.step
    lower = np.floor(channel).astype(np.int64)
    share = channel - lower
    image = np.zeros((grid.lon_steps, v.steps))
    lon = np.broadcast_to(np.arange(grid.lon_steps), channel.shape)
    for index, weight in ((lower, 1.0 - share), (lower + 1, share)):
        seen = (index >= 0) & (index < v.steps)
        np.add.at(image, (lon[seen], index[seen]), (density * weight)[seen])
    smooth = gaussian_filter1d(image, DISPERSION_KM_S / v.step, axis=1, mode="constant")
    return smooth * grid.distance.step / v.step


def footprint_of(image: Floats, share: float = FOOTPRINT_SHARE) -> NDArray[np.bool_]:
    """(L, V): the smallest part of an image that holds `share` of its sum; empty for an empty image."""
    descending = np.sort(image, axis=None)[::-1]
    sums = np.cumsum(descending)
    if sums[-1] <= 0:
        return np.zeros(image.shape, bool)
    return image >= max(descending[np.searchsorted(sums, share * sums[-1])], 1e-30)
