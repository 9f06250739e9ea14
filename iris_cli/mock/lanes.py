"""The two bar lanes: straight streams of gas at the bar's leading edges, from far out to the tips of the x2 orbits.

Gas falls along them at 100 to 270 km/s. Both together carry 2.7 (+1.5, -1.7) M_sun a year, of which about a third stays
in the CMZ (Sormani & Barnes 2019, arXiv:1901.00867; Hatchfield et al. 2021, arXiv:2106.08461). The near one is seen at
positive longitude and recedes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iris_cli.mock.streams import Gas

#: Length over which a lane begins at the tip of the orbit.
BEGIN_PC = 6.0


@dataclass(frozen=True)
class Lane:
    """A straight tube from `start_pc` (x, y) along the unit vector `outwards`; its gas moves the other way."""

    start_pc: tuple[float, float]
    outwards: tuple[float, float]
    n_H_cm3: float
    width_pc: float
    speed_km_s: float


def lane_gas(lane: Lane, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    """The gas of a lane at galactocentric positions in pc. The mass flux is the same all along it."""
    (x0, y0), (u, v) = lane.start_pc, lane.outwards
    along, across = (x - x0) * u + (y - y0) * v, (y - y0) * u - (x - x0) * v
    begun = 1.0 / (1.0 + np.exp(np.clip(-along / BEGIN_PC, -60.0, 60.0)))
    n_H = lane.n_H_cm3 * begun * np.exp(-0.5 / lane.width_pc**2 * (across**2 + z**2))
    speed = np.full_like(n_H, lane.speed_km_s)
    return n_H, (-u * speed, -v * speed, np.zeros_like(n_H))
