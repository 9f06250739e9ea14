"""Self-consistency of a view from above: the longitudes and velocities of its gas if it moved on published CMZ orbits.

A map contains positions of gas, not velocities. With the velocity field of a published orbit model (every ellipse of
the family has the orbit's velocities at equal phase), the map is observed from the side again and compared with the
observation. Agreement is no proof, because the model is an assumption, and near and far gas look similar; disagreement
is a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
#: Pixels below this multiple of the noise do not count as emission.
NOISE_CUT = 3.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """The agreement of an observation with a map and one orbit model.

    `explained` is the share of the observed emission inside the footprint of the map's gas; `chance` is the area of the
    footprint as a share of the l-v image, the value for uniform emission; `reversed` is `explained` for the opposite
    sense of rotation, which should be lower. `centroid_km_s`: rms difference of mean velocities, weighted with the
    observed brightness.
    """

    orbit: str
    explained: float
    chance: float
    reversed: float
    centroid_km_s: float | None


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


def compare(observed: NDArray, coverage: NDArray, density: NDArray, grid: Grid) -> list[Agreement]:
    """The agreement for each orbit model, of (L, V) observed, where it has coverage, with (R', L) density."""
    seen = coverage > 0.0
    bright = np.where(seen, significant(observed), 0.0)
    found = []
    for name, orbit in ORBITS.items():
        image = reobserve(density, grid, orbit)
        here, other_way = (footprint_of(np.where(seen, a, 0.0)) for a in (image, image[:, ::-1]))
        centroid, chance = _centroid_difference(bright, image * here, grid), float(here.sum() / max(seen.sum(), 1))
        found.append(Agreement(name, _share(bright, here), chance, _share(bright, other_way), centroid))
    return found


def footprint_of(image: Floats, share: float = FOOTPRINT_SHARE) -> NDArray[np.bool_]:
    """(L, V): the smallest part of an image that holds `share` of its sum; empty for an empty image."""
    descending = np.sort(image, axis=None)[::-1]
    sums = np.cumsum(descending)
    if sums[-1] <= 0:
        return np.zeros(image.shape, bool)
    return image >= max(descending[np.searchsorted(sums, share * sums[-1])], 1e-30)


def _share(bright: Floats, part: NDArray[np.bool_]) -> float:
    total = bright.sum()
    return float(bright[part].sum() / total) if total > 0 else 0.0


def significant(image: NDArray) -> Floats:
    """The image where it exceeds the noise, else 0. The noise is the rms of the values below zero; an image without
    noise has none.
    """
    below = image[image < 0]
    noise = float(np.sqrt(np.mean(np.square(below, dtype=np.float64)))) if below.size else 0.0
    return np.where(image > NOISE_CUT * noise, image, 0.0).astype(np.float64)


def _centroid_difference(observed: Floats, predicted: Floats, grid: Grid) -> float | None:
    v = grid.velocity.centres()
    weights, others = observed.sum(axis=1), predicted.sum(axis=1)
    both = (weights > 0) & (others > 0)
    if not both.any():
        return None
    difference = observed[both] @ v / weights[both] - predicted[both] @ v / others[both]
    return float(np.sqrt(np.average(difference**2, weights=weights[both])))
