"""Molecular clouds and cloud complexes: Gaussian balls with Larson's line widths, averaged over the cells of a grid.

Masses follow a power law up to that of Sgr B2 (1.4e6 M_sun; 2e24 H2 per cm^2 in a beam of 4.5 pc: Battersby et al.
2025, arXiv:2410.17334). Line widths grow as the square root of the size, 2 to 3 times those of the disc at equal size
(Shetty et al. 2012, arXiv:1208.4616; Kauffmann et al. 2017, arXiv:1610.03499). The largest eddy of a cloud is its own
velocity gradient, of random direction, which gives the line width also where a cell is as large as the cloud.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from iris_cli.config.grid import Grid

#: A cloud is followed to so many of its radii.
REACH = 4.0


@dataclass(frozen=True)
class Cloud:
    """`radius_pc` is the standard deviation of the Gaussian, `n_H_cm3` its peak.

    `gradient_km_s_pc[i][j]` is the derivative of velocity i along direction j of (x, y, z).
    """

    position_pc: tuple[float, float, float]
    velocity_km_s: tuple[float, float, float]
    n_H_cm3: float
    radius_pc: float
    gradient_km_s_pc: tuple[tuple[float, float, float], ...] = ((0.0,) * 3,) * 3


def add_clouds(
    clouds: tuple[Cloud, ...],
    centre_pc: tuple[float, float, float],
    scale: float,
    grid: Grid,
    view_deg: float,
    rows: slice,
    n_H: NDArray,
    flux: NDArray,
) -> None:
    """Adds the n_H and the n_H v_los of clouds, in place, to the distance rows `rows` (R, L, B) of a grid.

    Exact means over cells: a cloud has its mass on any grid. Positions count from `centre_pc`; lengths and velocities
    are multiplied by `scale`. The curvature of the cells within a cloud is neglected (0.01 pc).
    """
    cos, sin = math.cos(math.radians(view_deg)), math.sin(math.radians(view_deg))
    all_lon, all_lat = (np.deg2rad(axis.centres()) for axis in (grid.longitude, grid.latitude))
    all_r = grid.distance.centres()[rows]
    steps = grid.distance.step, math.radians(grid.longitude.step), math.radians(grid.latitude.step)
    for cloud in clouds:
        x, y, z = (scale * (q + c) for q, c in zip(cloud.position_pc, centre_pc, strict=True))
        away, left = grid.observer_distance_pc - cos * x - sin * y, sin * x - cos * y
        flat = math.hypot(away, left)
        distance = math.hypot(flat, z)
        lon, lat = math.atan2(left, away), math.asin(z / distance)
        # Unit vectors (x, y, z) of growing distance, longitude and latitude there.
        out = ((sin * left - cos * away) / distance, (-sin * away - cos * left) / distance, z / distance)
        east = ((cos * left + sin * away) / flat, (sin * left - cos * away) / flat, 0.0)
        north = (-out[2] * east[1], out[2] * east[0], out[0] * east[1] - out[1] * east[0])
        radius = scale * cloud.radius_pc
        block_r, a, da = _profile(all_r - distance, steps[0], radius)
        block_l, b, db = _profile((all_lon - lon) * flat, steps[1] * flat, radius)
        block_b, c, dc = _profile((all_lat - lat) * distance, steps[2] * distance, radius)
        n = (cloud.n_H_cm3 * a)[:, None, None] * (b[:, None] * c)
        gradient = [_dot(out, column) for column in zip(*cloud.gradient_km_s_pc, strict=True)]
        v = scale * _dot(out, cloud.velocity_km_s) + _dot(gradient, out) * da[:, None, None]
        v = v + (_dot(gradient, east) * db[:, None] + _dot(gradient, north) * dc)
        n_H[block_r, block_l, block_b] += n
        flux[block_r, block_l, block_b] += n * v


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _profile(offset_pc: NDArray, step_pc: float, radius_pc: float) -> tuple[slice, NDArray, NDArray]:
    """The cells within reach, the means of a unit Gaussian over them, and their offsets, from those of all cells."""
    reach = REACH * radius_pc + 0.5 * step_pc
    first, last = np.searchsorted(offset_pc, (-reach, reach))
    near = offset_pc[first:last]
    edges = erf((np.append(near, near[-1:] + step_pc) - 0.5 * step_pc) / (math.sqrt(2.0) * radius_pc))
    return (
        slice(int(first), int(last)),
        (edges[1:] - edges[:-1]) * (math.sqrt(0.5 * math.pi) * radius_pc / step_pc),
        near,
    )
