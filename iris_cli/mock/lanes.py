"""The two bar lanes: straight streams of gas at the bar's leading edges, from far out to the tips of the x2 orbits.

Gas falls along them at 100 to 270 km/s. Both together carry 2.7 (+1.5, -1.7) M_sun a year, of which about a third stays
in the CMZ (Sormani & Barnes 2019, arXiv:1901.00867; Hatchfield et al. 2021, arXiv:2106.08461). The near one is seen at
positive longitude and recedes.
"""

# mypy: allow-untyped-defs

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.compiled_math import exp32, part

#: Length over which a lane begins at the tip of the orbit.
BEGIN_PC = 6.0

_f = np.float32
_LANE = np.dtype([(name, np.float32) for name in ("x0", "y0", "out_x", "out_y", "n_H", "width", "speed")])


@dataclass(frozen=True)
class Lane:
    """A straight tube from `start_pc` (x, y) along the unit vector `outwards`; its gas moves the other way."""

    start_pc: tuple[float, float]
    outwards: tuple[float, float]
    n_H_cm3: float
    width_pc: float
    speed_km_s: float


def packed_lanes(lanes: Sequence[Lane]) -> NDArray:
    rows = [(*lane.start_pc, *lane.outwards, lane.n_H_cm3, lane.width_pc, lane.speed_km_s) for lane in lanes]
    return np.array(rows, _LANE)


@part
def add_lane(lane, x, y, z, nx, ny, nz, n_H, flux):
    """Adds the gas of a lane to cells, see `galaxy.smooth_gas`. The mass flux is the same all along it."""
    x0, y0, out_x, out_y, per_cm3 = lane.x0, lane.y0, lane.out_x, lane.out_y, lane.n_H
    per_square, speed, per_begin = _f(-0.5) / (lane.width * lane.width), lane.speed, _f(-1 / BEGIN_PC)
    for i in range(x.size):
        along = (x[i] - x0) * out_x + (y[i] - y0) * out_y
        across = (y[i] - y0) * out_x - (x[i] - x0) * out_y
        n = per_cm3 * exp32(per_square * (across * across + z[i] * z[i])) / (_f(1) + exp32(per_begin * along))
        n_H[i] += n
        flux[i] -= n * speed * (out_x * nx[i] + out_y * ny[i])
