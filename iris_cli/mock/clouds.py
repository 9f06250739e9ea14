"""Molecular clouds and cloud complexes: Gaussian balls with Larson's line widths, averaged over the cells of a grid.

Masses follow a power law up to that of Sgr B2 (1.4e6 M_sun; 2e24 H2 per cm^2 in a beam of 4.5 pc: Battersby et al.
2025, arXiv:2410.17334). Line widths grow as the square root of the size, 2 to 3 times those of the disc at equal size
(Shetty et al. 2012, arXiv:1208.4616; Kauffmann et al. 2017, arXiv:1610.03499). The largest eddy of a cloud is its own
velocity gradient, of random direction, which gives the line width also where a cell is as large as the cloud.
"""

# mypy: allow-untyped-defs

import math
from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from iris_cli.compiled_math import kernel, part

#: A cloud is followed to so many of its radii.
REACH = 4.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clouds:
    """Positions and velocities (clouds, 3) along x, y, z; `radius_pc` is the standard deviation of a Gaussian ball.

    `n_H_cm3` is its peak; `gradient_km_s_pc[:, i, j]` is the derivative of velocity i along direction j.
    """

    position_pc: Floats
    velocity_km_s: Floats
    n_H_cm3: Floats
    radius_pc: Floats
    gradient_km_s_pc: Floats

    def __len__(self) -> int:
        return len(self.radius_pc)

    def __add__(self, other: "Clouds") -> "Clouds":
        names = [each.name for each in fields(self)]
        return Clouds(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


NO_CLOUDS = Clouds(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), np.empty(0), np.empty((0, 3, 3)))


@kernel
def add_clouds(position, velocity, n_H, radius, gradient, scale, frame, steps, r, lon, lat, density, flux):
    """Adds the n_H and the n_H v_los of clouds, in place, to the cells (R, L, B) of a grid.

    Exact means over cells: a cloud has its mass on any grid. Positions are galactocentric; lengths and velocities are
    multiplied by `scale`. `frame` holds cos and sin of the view and the distance of the observer, `steps` the sides of
    a cell: pc and radians. The curvature of the cells within a cloud is neglected (0.01 pc).
    """
    cos, sin, observer_pc = frame
    for k in range(len(radius)):
        x, y, z = scale * position[k, 0], scale * position[k, 1], scale * position[k, 2]
        away, left = observer_pc - cos * x - sin * y, sin * x - cos * y
        flat = math.sqrt(away * away + left * left)
        distance = math.sqrt(flat * flat + z * z)
        longitude, latitude = math.atan2(left, away), math.asin(z / distance)
        # Unit vectors (x, y, z) of growing distance, longitude and latitude there.
        out = ((sin * left - cos * away) / distance, (-sin * away - cos * left) / distance, z / distance)
        east = ((cos * left + sin * away) / flat, (sin * left - cos * away) / flat, 0.0)
        north = (-out[2] * east[1], out[2] * east[0], out[0] * east[1] - out[1] * east[0])
        size = scale * radius[k]
        r0, a, da = _profile(r, distance, 1.0, steps[0], size)
        l0, b, db = _profile(lon, longitude, flat, steps[1], size)
        b0, c, dc = _profile(lat, latitude, distance, steps[2], size)
        g = gradient[k]
        per_pc = (_along(g[:, 0], out), _along(g[:, 1], out), _along(g[:, 2], out))
        per_out, per_east, per_north = _along(per_pc, out), _along(per_pc, east), _along(per_pc, north)
        v0 = scale * _along(velocity[k], out)
        for i in range(a.size):
            for j in range(b.size):
                peak, v = n_H[k] * a[i] * b[j], v0 + per_out * da[i] + per_east * db[j]
                for m in range(c.size):
                    density[r0 + i, l0 + j, b0 + m] += peak * c[m]
                    flux[r0 + i, l0 + j, b0 + m] += peak * c[m] * (v + per_north * dc[m])


@njit(inline="always")
def _along(vector, direction):
    return vector[0] * direction[0] + vector[1] * direction[1] + vector[2] * direction[2]


@part
def _profile(centres, middle, pc_per_unit, step, radius_pc):
    """The first cell within reach, the means of a unit Gaussian over the cells there, and their offsets in pc."""
    step_pc = step * pc_per_unit
    reach = REACH * radius_pc + 0.5 * step_pc
    first = np.searchsorted(centres, middle - reach / pc_per_unit)
    last = np.searchsorted(centres, middle + reach / pc_per_unit)
    offset_pc = (centres[first:last] - middle) * pc_per_unit
    mean = np.empty(last - first)
    narrow, below = 1.0 / (math.sqrt(2.0) * radius_pc), 0.0
    for i in range(mean.size):
        if i == 0:
            below = math.erf((offset_pc[0] - 0.5 * step_pc) * narrow)
        above = math.erf((offset_pc[i] + 0.5 * step_pc) * narrow)
        mean[i] = (above - below) * (math.sqrt(0.5 * math.pi) * radius_pc / step_pc)
        below = above
    return first, mean, offset_pc
